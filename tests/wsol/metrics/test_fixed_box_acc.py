"""Localization at given score thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.support.mask_samples import counted, metric
from tests.support.normalizing import build
from tests.support.reference_boxes import boxes_at
from wsol.contract.samples import random_sample
from wsol.metric import Sample
from wsol.ops.boxes import Floats, iou, quantise
from wsol.ops.resize import resize_maps
from wsol.types import Annotation

BOX = np.array([[2, 2, 11, 11]])


def of_map(score_map: Any, label: int = 0, logits: list[float] | None = None) -> Sample:
    classes = None if logits is None else np.array(logits, np.float32)
    return Sample(np.asarray(score_map, np.float64), Annotation((16, 16), BOX), label, classes)


def two_levels(inner: float, outer: float) -> Floats:
    """The object at `inner`, its surroundings at `outer`; one pixel of it at 1."""
    score_map = np.full((16, 16), outer)
    score_map[2:11, 2:11] = inner
    score_map[5, 5] = 1
    return score_map


def test_the_threshold_is_a_fraction_of_the_maximum() -> None:
    """51 is 0.2 of 255; the object is what lies strictly above."""
    for inner, outer, right in ((52 / 255, 51 / 255, True), (51 / 255, 0, False), (60 / 255, 52 / 255, False)):
        assert counted(metric("fixed_box_acc"), [of_map(two_levels(inner, outer))]).compute() == {
            "fixed_box_acc": 100 * right,
            "fixed_box_acc/gt_known_20": 100 * right,
        }
    half = of_map(0.5 * two_levels(0.21, 0.19))
    assert counted(metric("fixed_box_acc"), [half]).compute()["fixed_box_acc"] == 100


def test_every_threshold_has_its_numbers() -> None:
    """An image that is right at 20 and 35 percent, one at 35 percent only, one nowhere; of the second the class is the
    second guess, of the third the first."""
    samples = [
        of_map(two_levels(0.9, 0.1), 0, [2, 1, 0]),
        of_map(two_levels(0.9, 0.3), 1, [2, 1, 0]),
        of_map(two_levels(0.9, 0.5), 0, [2, 1, 0]),
    ]
    found = counted(metric("fixed_box_acc", thresholds=[0.35, 0.2, 0.125]), samples).compute()
    third = pytest.approx(100 / 3)
    assert found == {
        "fixed_box_acc": pytest.approx(200 / 3),
        "fixed_box_acc/gt_known_35": pytest.approx(200 / 3),
        "fixed_box_acc/gt_known_20": third,
        "fixed_box_acc/gt_known_12.5": third,
        "fixed_box_acc/top1_35": third,
        "fixed_box_acc/top1_20": third,
        "fixed_box_acc/top1_12.5": third,
        "fixed_box_acc/top5_35": pytest.approx(200 / 3),
        "fixed_box_acc/top5_20": third,
        "fixed_box_acc/top5_12.5": third,
    }


@pytest.mark.parametrize("contours", ["largest", "all"])
@pytest.mark.parametrize("level", [0.2, 0.3])
def test_the_boxes_are_those_of_the_published_rule(contours: str, level: float) -> None:
    """Found one threshold at a time, with OpenCV."""
    samples, thresholds = [random_sample(seed) for seed in range(40)], [0.2, 0.35, 0.577]
    counter = counted(metric("fixed_box_acc", thresholds=thresholds, iou=level, contours=contours), samples)
    for threshold in thresholds:
        right = []
        for sample in samples:
            pixels = quantise(sample.score_map)
            every, largest = boxes_at(pixels, int(threshold * pixels.max()))
            boxes = np.array(every if contours == "all" else [largest])
            right.append(iou(boxes, sample.grid_boxes).max() >= level)
        assert len(set(right)) == 2, "some images are right, some are not"
        assert counter.compute()[f"fixed_box_acc/gt_known_{100 * threshold:g}"] == pytest.approx(100 * np.mean(right))


def test_a_threshold_of_the_curve_has_the_value_of_the_curve() -> None:
    samples = [random_sample(seed) for seed in range(100)]
    found = counted(metric("fixed_box_acc", thresholds=[0.5]), samples).compute()
    swept = counted(metric("top1", 0.01), samples).compute_at(
        {f"{curve}_threshold": 0.5 for curve in ("top1/loc", "top5/loc", "gt_known/loc")}
    )
    for ours, theirs in (("top1", "top1/loc"), ("top5", "top5/loc"), ("gt_known", "gt_known/loc")):
        assert found[f"fixed_box_acc/{ours}_50"] == swept[f"{theirs}_fixed"] > 0


def test_with_the_percentile_the_fraction_is_of_the_percentile() -> None:
    """The released setting: 0.35 of the percentile 90 of the 8-bit map."""
    raw = torch.from_numpy(np.exp(3 * np.random.default_rng(1).standard_normal((12, 5, 5))))
    maps, truth = resize_maps(raw, (32, 32)), np.array([[3, 3, 20, 20]])
    whole, cut = build("min_max")(maps).numpy(), build("pas", percentile=90.0, quantised=True)(maps).numpy()
    right = []
    for score_map in whole:
        pixels = quantise(score_map)
        box = boxes_at(pixels, int(0.35 * int(np.percentile(pixels, 90))))[1]
        right.append(iou(np.array([box]), truth).max() >= 0.3)
    counter = metric("fixed_box_acc", thresholds=[0.35], iou=0.3)
    counted(counter, [Sample(score_map, Annotation((32, 32), truth), 0) for score_map in cut])
    assert len(set(right)) == 2, "some images are right, some are not"
    assert counter.compute()["fixed_box_acc"] == pytest.approx(100 * np.mean(right))


def test_without_logits_there_is_the_box_only() -> None:
    samples = [of_map(two_levels(1, 0), 0, [1, 0]), of_map(two_levels(1, 0))]
    found = counted(metric("fixed_box_acc"), samples).compute()
    assert found == {"fixed_box_acc": 100, "fixed_box_acc/gt_known_20": 100}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thresholds": []}, "at least 1 item"),
        ({"thresholds": [1.0]}, "less than 1"),
        ({"thresholds": [0.2, 0.35, 0.2]}, "names a threshold twice"),
        ({"iou": 0.0}, "greater than 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        metric("fixed_box_acc", **settings)


def test_other_thresholds_are_another_metric() -> None:
    with pytest.raises(ValueError, match="same settings"):
        metric("fixed_box_acc").merge(metric("fixed_box_acc", thresholds=[0.2, 0.35]).state())
