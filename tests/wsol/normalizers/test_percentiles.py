"""Box metrics on maps that are cut off at a percentile."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.normalizing import build
from tests.support.vectors import files, load
from wsol.metric import Sample
from wsol.metrics import max_box_acc
from wsol.normalizers.min_max import min_max
from wsol.ops.boxes import boxes_by_level
from wsol.ops.resize import resize_maps
from wsol.types import Annotation


def box_at(score_map, threshold):
    """The box of the largest contour at a fraction of the map's maximum."""
    boxes = boxes_by_level(score_map)
    return boxes.largest[int(threshold * boxes.peak)]


@pytest.mark.parametrize("path", files("percentile_thresholding"))
def test_boxes_at_a_percentile_equal_the_recorded_ones(path):
    case = load(path)
    maps = resize_maps(torch.from_numpy(case.pop("cams")), (224, 224))
    for key, recorded in case.items():
        threshold, percentile = float(key.split("_")[2]), float(key.split("_")[4])
        scaled = build("pas", percentile=percentile, quantised=True)(maps).numpy()
        # Recorded corners may lie one pixel outside of the map.
        assert np.array_equal([box_at(score_map, threshold) for score_map in scaled], np.minimum(recorded, 223)), key


def steps(*counts):
    """A 10 x 10 map with so many pixels at 1, 0.6, 0.3 and 0."""
    return (
        torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
        .repeat_interleave(torch.tensor(counts))
        .reshape(1, 10, 10)
    )


@pytest.mark.parametrize(
    ("percentile", "peak", "sizes"),
    [
        (100, 255, {0.45: 20, 0.5: 20, 0.7: 5}),
        (95, 158, {0.45: 50, 0.5: 20, 0.97: 5}),
        (90, 153, {0.45: 50, 0.5: 20, 0.9: 20}),
        (80, 91, {0.5: 50, 0.9: 20}),
        (50, 38, {0.0: 50, 0.9: 50}),
        (40, 1, {0.0: 50, 0.5: 50, 0.9: 50}),
    ],
)
def test_percentile_levels_of_a_map_with_four_values(percentile, peak, sizes):
    pixels = (build("pas", percentile=percentile, quantised=True)(steps(5, 15, 30, 50)).numpy() * 255).astype(np.uint8)
    assert pixels.max() == peak
    assert {threshold: (pixels > int(threshold * peak)).sum() for threshold in sizes} == sizes


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1, 100), st.integers(2, 30))
def test_the_8_bit_percentile_is_the_published_one(seed, percentile, values):
    maps = torch.from_numpy(np.random.default_rng(seed).integers(0, values, (1, 9, 7)).astype(np.float64))
    pixels = (min_max(maps).numpy() * 255).astype(np.uint8)
    cut = (build("pas", percentile=percentile, quantised=True)(maps).numpy() * 255).astype(np.uint8)
    assert np.array_equal(
        cut, np.minimum(pixels, int(max(1, np.percentile(pixels, percentile)))) if maps.max() > maps.min() else pixels
    )


def test_the_level_is_a_fraction_of_the_8_bit_percentile():
    """The released code took it of the percentile itself, which is 22.9 here: its level is one higher."""
    maps = torch.tensor([0, 10, 22, 22, 22, 23, 23, 23, 23, 255], dtype=torch.float64).reshape(1, 2, 5)
    percentile = 100 * 4.9 / 9
    published = np.percentile(maps.numpy(), percentile)
    cut = (build("pas", percentile=percentile, quantised=True)(maps).numpy() * 255).astype(np.uint8)
    assert published == pytest.approx(22.9) and cut.max() == 22
    assert (int(0.35 * published), int(0.35 * cut.max())) == (8, 7)


def test_box_metrics_see_the_percentile_as_the_maximum():
    maps = min_max(resize_maps(torch.from_numpy(np.random.default_rng(1).standard_normal((1, 7, 7))), (56, 56)))
    cut = build("pas", percentile=80, quantised=True)(maps).numpy()[0]
    counter = max_box_acc.build(max_box_acc.Config(), 0.01)
    counter.update(Sample(cut, Annotation((56, 56), np.array([(3, 3, 40, 40)])), 0, threshold_step=0.01))
    pixels = (maps.numpy()[0] * 255).astype(np.uint8)
    yardstick = int(np.percentile(pixels, 80))
    whole = boxes_by_level(maps.numpy()[0])
    assert all(np.array_equal(box_at(cut, t), whole.largest[int(t * yardstick)]) for t in np.arange(100) * 0.01)
    assert counter.compute()["max_box_acc/threshold_30"] < 1
