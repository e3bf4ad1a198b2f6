"""Small images with boxes, and what a metric counts on them."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import numpy as np
import torch

from wsol.metric import Metric, Sample
from wsol.normalizers.min_max import min_max
from wsol.ops.resize import resize_maps
from wsol.types import Annotation


def metric(plugin: ModuleType, step: float = 0.001) -> Metric:
    """A plugin's metric at zero."""
    made: Metric = plugin.build(plugin.Config(), step)
    return made


def counted(counter: Metric, samples: Iterable[Sample]) -> Metric:
    """The metric, which has counted the images."""
    for sample in samples:
        counter.update(sample)
    return counter


SIDE = 24


def random_sample(seed: int, step: float = 0.01, classes: int = 8) -> Sample:
    """A smooth map with boxes and logits that have nothing to do with it."""
    random = np.random.default_rng(seed)
    raw = torch.from_numpy(random.standard_normal((1, 6, 6)).astype(np.float32))
    score_map = min_max(resize_maps(raw, (SIDE, SIDE))).numpy()[0]
    boxes = np.sort(random.integers(0, 40, (random.integers(1, 4), 2, 2)), axis=1).reshape(-1, 4)
    logits = random.integers(0, 4, classes).astype(np.float32)
    return Sample(score_map, Annotation((40, 40), boxes), int(random.integers(classes)), logits, step)


def _with_mask(sample: Sample) -> Sample:
    """The same image with the union of its boxes as mask."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for x0, y0, x1, y1 in sample.grid_boxes:
        mask[y0 : y1 + 1, x0 : x1 + 1] = 1
    annotation = Annotation(sample.annotation.image_size, sample.annotation.boxes, mask)
    return Sample(sample.score_map, annotation, sample.label, sample.logits, sample.threshold_step)


def samples_with_all(count: int = 9) -> list[Sample]:
    """Small images with boxes, masks and logits."""
    return [_with_mask(random_sample(seed)) for seed in range(count)]
