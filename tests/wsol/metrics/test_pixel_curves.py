"""PxAP and pIoU on small maps, and their curves against a count at every threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.mask_samples import IGNORED, counted, metric, random_sample, sample, values
from wsol.baseline import center_gaussian
from wsol.metric import Sample
from wsol.metrics import pxap
from wsol.types import Annotation

# ---------------------------------------------------------------- small cases


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (
            [([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, 0.2]], [[1, 0, 1, IGNORED], [0, 1, 0, 0]])],
            100 / 3 * (1 + 2 / 3 + 3 / 5),
        ),
        ([([0.5005, 0.5009, 0.1, 1.0], [1, 0, 0, 1])], 100 * (1 / 2 + 1 / 2 * 2 / 3)),
        ([([1, 0], [1, 0]), ([1, 0], [0, 1])], 50.0),
    ],
    ids=["ignored pixels", "one bin", "pooled over images"],
)
def test_pxap_of_small_maps(images: list[tuple[Any, Any]], expected: float) -> None:
    assert values("pxap", [sample(*image) for image in images])["pxap"] == pytest.approx(expected, abs=1e-11)


def test_pxap_of_a_ramp() -> None:
    ramp = np.arange(224 * 224)
    one = sample((ramp / 50175).reshape(224, 224), (ramp % 3 == 0).reshape(224, 224))
    assert values("pxap", [one])["pxap"] == pytest.approx(33.34182204957001, abs=1e-11)


@pytest.mark.parametrize(("step", "expected"), [(0.001, 90.51580740878778), (0.01, 90.28621715634038)])
def test_pxap_of_the_centre_gaussian(step: float, expected: float) -> None:
    mask = np.zeros((224, 224))
    mask[180:200] = IGNORED
    mask[60:180, 40:150] = 1
    assert values("pxap", [sample(center_gaussian((224, 224), 56), mask)], step)["pxap"] == pytest.approx(
        expected, abs=1e-11
    )


TWO_IMAGES = [
    sample([[0, 0.1, 0.3, 0.6], [0.9, 1, 0.5, 0.2]], [[0, 0, 1, 1], [1, 1, 0, IGNORED]]),
    sample([[0, 0.8, 0.4, 1]], [[0, 0, 1, 1]]),
]


def test_precision_and_recall_over_thresholds_are_those_of_pxap() -> None:
    metric = pxap.build(pxap.Config(), 0.25)
    metric.update(
        Sample(
            np.array([[0.1, 0.3], [0.6, 0.9]]),
            Annotation((0, 0), np.empty((0, 4)), np.array([[0, 1], [0, 1]], np.uint8)),
            0,
        )
    )
    curves = metric.over_thresholds()
    assert curves["pxap/precision"].tolist() == pytest.approx([50, 200 / 3, 50, 100])
    assert curves["pxap/recall"].tolist() == [100, 100, 50, 50]


def test_piou_is_the_peak_of_one_pooled_curve() -> None:
    assert values("piou", TWO_IMAGES, 0.25) == {"piou": 75, "piou/threshold": 0.25}
    assert values("pxap", TWO_IMAGES, 0.25)["pxap"] == pytest.approx(81.9444444, abs=1e-7)


def test_piou_may_choose_the_threshold_1() -> None:
    assert values("piou", [sample([1, 0.9995, 0.9995, 0.9995], [1, 0, 0, 0])]) == {"piou": 100, "piou/threshold": 1}


def test_a_score_equal_to_a_threshold_is_in_the_bin_above_it() -> None:
    thresholds = np.arange(1000) * 0.001
    counter = counted(metric("pxap"), [sample(thresholds, np.ones(1000))])
    assert counter.state()["counts"][0].tolist() == [1] * 1000 + [0, 0]
    below = counted(metric("pxap"), [sample(np.nextafter(thresholds[1:], 0), np.zeros(999))])
    assert below.state()["counts"][1].tolist() == [1] * 999 + [0, 0, 0]


def slow_curve(samples: list[Sample], step: float) -> list[tuple[float, int, int, int]]:
    """(threshold, TP, FP, FN) of the pooled pixels, one threshold at a time, falling."""
    scores = np.concatenate([one.score_map[one.annotation.mask != IGNORED] for one in samples])
    truth = np.concatenate([one.annotation.mask[one.annotation.mask != IGNORED] for one in samples]) == 1  # type: ignore[index]
    thresholds = [2.0, 1.0, *(np.arange(np.ceil(1 / step)) * step)[::-1]]
    return [
        (t, int((truth & (scores >= t)).sum()), int((~truth & (scores >= t)).sum()), int((truth & (scores < t)).sum()))
        for t in thresholds
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.01, 0.05, 0.25, 0.3]))
def test_pixel_metrics_equal_a_count_at_every_threshold(seed: int, step: float) -> None:
    samples = [random_sample(seed + offset) for offset in range(3)]
    area, recall, overlaps = 0.0, 0.0, {}
    for threshold, right, wrong, missed in slow_curve(samples, step):
        if right + wrong:
            area += right / (right + wrong) * (right / (right + missed) - recall)
        recall, overlaps[threshold] = right / (right + missed), right / (right + wrong + missed)
    assert values("pxap", samples, step)["pxap"] == pytest.approx(100 * area, abs=1e-9)
    found = values("piou", samples, step)
    assert found["piou"] == pytest.approx(100 * max(overlaps.values()), abs=1e-9)
    assert found["piou/threshold"] == min(
        threshold for threshold, overlap in overlaps.items() if overlap == max(overlaps.values())
    )
