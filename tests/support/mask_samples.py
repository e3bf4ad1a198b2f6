"""Small images with masks, and what a metric counts on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsol import plugins
from wsol.metric import Metric, Sample
from wsol.types import Annotation

IGNORED = 255
NO_BOXES = np.empty((0, 4), np.int64)


def metric(name: str, step: float = 0.001, **settings: Any) -> Metric:
    plugin = plugins.load("metric", name)
    built: Metric = plugin.build(plugin.Config(**settings), step)
    return built


def sample(scores: Any, mask: Any) -> Sample:
    return Sample(
        np.array(scores, np.float64, ndmin=2), Annotation((0, 0), NO_BOXES, np.array(mask, np.uint8, ndmin=2)), 0
    )


def counted(counter: Metric, samples: list[Sample]) -> Metric:
    for one in samples:
        counter.update(one)
    return counter


def values(name: str, samples: list[Sample], step: float = 0.001) -> dict[str, float]:
    return counted(metric(name, step), samples).compute()


def random_sample(seed: int, side: int = 12) -> Sample:
    random = np.random.default_rng(seed)
    mask = random.choice(np.array([0, 1, IGNORED]), (side, side), p=(0.5, 0.4, 0.1))
    scores = np.round(random.random((side, side)), random.integers(1, 6))
    return sample(scores * (random.random() < 0.9), mask)
