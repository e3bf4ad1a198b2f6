"""MaxBoxAcc by object size, against the recorded reference and against OpenCV at one threshold at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from tests.support.reference_boxes import clamped
from tests.support.vectors import files, load
from wsol.metric import Sample
from wsol.metrics import max_box_acc, max_box_acc_by_size, max_box_acc_v2
from wsol.metrics._sizes import BINS, EDGES, size_bins
from wsol.metrics.max_box_acc_by_size import MaxBoxAccBySize
from wsol.normalizers.min_max import min_max
from wsol.ops.boxes import iou, threshold_values
from wsol.ops.resize import resize_maps
from wsol.types import Annotation

SIDE = 32


def metric(step: float = 0.01, **settings: Any) -> MaxBoxAccBySize:
    return max_box_acc_by_size.build(max_box_acc_by_size.Config(**settings), step)


def counted(counter: Any, samples: list[Sample]) -> Any:
    for one in samples:
        counter.update(one)
    return counter


@pytest.mark.parametrize("path", files("size_stratified_accuracy"))
def test_counts_and_accuracies_equal_the_recorded_ones(path: Path) -> None:
    case = load(path)
    maps = min_max(resize_maps(torch.from_numpy(case["cams_28"]), (224, 224))).numpy()
    boxes = np.split(case["gt_boxes_original"], np.cumsum(case["gt_counts"])[:-1])
    samples = [
        Sample(m, Annotation(tuple(size), b), 0)
        for m, size, b in zip(maps, case["image_sizes_wh"].tolist(), boxes, strict=True)
    ]
    contours = "all" if "multi_contour_True" in path.stem else "largest"
    counter = counted(
        metric(contours=contours, size_of="largest" if "image_size_from_largest_True" in path.stem else "matched"),
        samples,
    )
    assert case["size_edges_percent"].tolist() == list(EDGES)
    assert np.array_equal(threshold_values(0.01), case["thresholds"])
    assert np.array_equal(counter.state()["sizes"], case["count"])
    assert np.array_equal(counter.state()["counts"], case["num_correct"])

    right, images = counter.at(counter.best())
    full = case["count"].min(1) > 0  # of a bin that is empty at any threshold the reference says 0
    assert np.abs(100 * right[full] / images[full] - case["acc_per_size_30_50_70"][full]).max() <= 1e-9
    assert not case["acc_per_size_30_50_70"][~full].any()
    found = counter.compute()
    for name, row in ((name, row) for row, name in enumerate(BINS) if full[row]):
        assert found[f"max_box_acc_by_size/size_{name}"] == pytest.approx(
            case["acc_per_size_30_50_70"][row].mean(), abs=1e-9
        )


def opencv_boxes(pixels: NDArray[np.uint8], level: int, contours: str) -> list[tuple[int, int, int, int]]:
    """The predicted boxes in OpenCV's order."""
    _, binary = cv2.threshold(pixels, level, 255, cv2.THRESH_BINARY)
    found, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not found:
        return [(0, 0, 0, 0)]
    kept = found if contours == "all" else [max(found, key=cv2.contourArea)]
    return [clamped(cv2.boundingRect(contour), pixels.shape) for contour in kept]


def slow_counts(
    samples: list[Sample], step: float, contours: str, size_of: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images (10, T) and right ones (10, 3, T), straight from the definition: of equal predictions the lowest
    decides."""
    thresholds = np.arange(np.ceil(1 / step)) * step
    sizes, counts = np.zeros((10, len(thresholds)), np.int64), np.zeros((10, 3, len(thresholds)), np.int64)
    for one in samples:
        (width, height), boxes = one.annotation.image_size, one.annotation.boxes
        percent = [(x1 - x0) * (y1 - y0) * 100 / (width * height) for x0, y0, x1, y1 in boxes.tolist()]
        pixels = (one.score_map * 255).astype(np.uint8)
        for index, threshold in enumerate(thresholds):
            predicted = opencv_boxes(pixels, int(threshold * pixels.max()), contours)
            overlaps = iou(predicted, one.grid_boxes)
            box = max(
                range(len(predicted)), key=lambda row: (overlaps[row].max(), predicted[row][1], predicted[row][0])
            )
            share = percent[overlaps[box].argmax()] if size_of == "matched" else max(percent)
            row = max(row for row in range(10) if EDGES[row] <= share)
            sizes[row, index] += 1
            counts[row, :, index] += overlaps[box].max() >= np.array([0.3, 0.5, 0.7])
    return sizes, counts


def random_sample(seed: int, step: float = 0.01) -> Sample:
    random = np.random.default_rng(seed)
    raw = torch.from_numpy(random.standard_normal((1, 5, 5)).astype(np.float32))
    boxes = np.sort(random.integers(0, 60, (random.integers(1, 5), 2, 2)), axis=1).reshape(-1, 4)
    return Sample(
        min_max(resize_maps(raw, (SIDE, SIDE))).numpy()[0], Annotation((60, 61), boxes), 0, threshold_step=step
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["all", "largest"]), st.sampled_from(["matched", "largest"]))
@example(6126, "all", "matched")  # equal predictions, one inside the other
def test_counts_equal_those_found_with_opencv(seed: int, contours: str, size_of: str) -> None:
    samples = [random_sample(seed + offset, 0.04) for offset in range(4)]
    state = counted(metric(0.04, contours=contours, size_of=size_of), samples).state()
    sizes, counts = slow_counts(samples, 0.04, contours, size_of)
    assert np.array_equal(state["sizes"], sizes)
    assert np.array_equal(state["counts"], counts)


def two_blocks() -> Sample:
    """Two bright blocks, each exactly a true box; their boxes belong to different bins."""
    score_map = np.zeros((20, 20))
    score_map[2:4, 2:4] = score_map[10:18, 10:18] = 1
    return Sample(score_map, Annotation((20, 20), np.array([(2, 2, 4, 4), (10, 10, 18, 18)])), 0, threshold_step=0.01)


def test_of_equal_predictions_the_lowest_decides_as_in_opencv() -> None:
    predicted = opencv_boxes((two_blocks().score_map * 255).astype(np.uint8), 0, "all")
    assert predicted == sorted(predicted, key=lambda box: (-box[1], -box[0]))
    state = counted(metric(), [two_blocks()]).state()
    sizes, counts = slow_counts([two_blocks()], 0.01, "all", "matched")
    assert np.array_equal(state["sizes"], sizes) and np.array_equal(state["counts"], counts)
    assert state["sizes"][BINS.index("16_25")].all() and state["sizes"].sum() == 100


def test_where_nothing_overlaps_an_image_has_the_size_of_its_first_box() -> None:
    score_map = np.zeros((20, 20))
    score_map[19, 19] = 1
    truth = np.array([(0, 0, 4, 4), (0, 0, 9, 9)])
    nothing = Sample(score_map, Annotation((20, 20), truth), 0, threshold_step=0.01)
    assert counted(metric(), [nothing]).state()["sizes"][BINS.index("4_9")].all()
    assert counted(metric(size_of="largest"), [nothing]).state()["sizes"][BINS.index("16_25")].all()


@pytest.mark.parametrize(("contours", "version"), [("all", max_box_acc_v2), ("largest", max_box_acc)])
@pytest.mark.parametrize("size_of", ["matched", "largest"])
def test_over_all_sizes_it_is_the_usual_metric(contours: str, version: Any, size_of: str) -> None:
    samples = [random_sample(seed) for seed in range(12)]
    found = counted(metric(contours=contours, size_of=size_of), samples).compute()
    usual = counted(version.build(version.Config(), 0.01), samples).compute()
    name = version.Config().name
    assert found["max_box_acc_by_size/total"] == pytest.approx(
        np.mean([usual[f"{name}/iou_{delta}"] for delta in (30, 50, 70)])
    )
    assert all(
        found[f"max_box_acc_by_size/threshold_{delta}"] == usual[f"{name}/threshold_{delta}"] for delta in (30, 50, 70)
    )
    assert sum(found[f"max_box_acc_by_size/images_{name}"] for name in BINS) == pytest.approx(12)


def block(percent: int, hit: bool) -> Sample:
    """An image with one true box of this size; the map is 1 on exactly the box, or on another place."""
    side = round(percent**0.5) * 2
    score_map = np.zeros((100, 100))
    top = 0 if hit else 60
    score_map[top : top + 5 * side, : 5 * side] = 1
    return Sample(score_map, Annotation((100, 100), np.array([(0, 0, 5 * side, 5 * side)])), 0, threshold_step=0.01)


def test_bins_weigh_the_same_and_groups_pool_their_images() -> None:
    samples = [
        block(1, True),
        block(4, True),
        block(4, False),
        block(4, False),
        block(16, True),
        block(49, True),
        block(49, True),
    ]
    found = counted(metric(), samples).compute()
    name = "max_box_acc_by_size"
    assert (
        found[f"{name}/size_1_4"] == 100
        and found[f"{name}/size_4_9"] == pytest.approx(100 / 3)
        and found[f"{name}/size_49_64"] == 100
    )
    assert found[name] == pytest.approx((100 + 100 / 3 + 100 + 100) / 4)
    assert found[f"{name}/total"] == pytest.approx(500 / 7)
    assert [found[f"{name}/{group}"] for group in ("small", "medium", "large")] == [100, 50, 100]
    assert [found[f"{name}/images_{size}"] for size in ("0_1", "1_4", "4_9", "16_25", "49_64")] == [0, 1, 3, 1, 2]
    assert f"{name}/size_0_1" not in found
    other = counted(metric(small_below=9, large_from=16), samples).compute()
    assert other[f"{name}/small"] == 50 and f"{name}/medium" not in other and other[f"{name}/large"] == 100


def test_a_bin_is_averaged_over_the_thresholds_at_which_it_has_images() -> None:
    for seed in range(40):
        counter = counted(metric(), [random_sample(seed), random_sample(seed + 1000)])
        right, images = counter.at(counter.best())
        found = counter.compute()
        for row, name in enumerate(BINS):
            values = [100 * hits / number for hits, number in zip(right[row], images[row], strict=True) if number]
            shown = [value for key, value in found.items() if key == f"max_box_acc_by_size/size_{name}"]
            assert shown == [pytest.approx(sum(values) / len(values)) for _ in values[:1]]


def test_size_edges_belong_to_the_larger_bin() -> None:
    areas = [0, 1, 99, 100, 399, 400, 8099, 8100, 10000, 10201]
    assert size_bins(areas, 10000).tolist() == [0, 0, 0, 1, 1, 2, 8, 9, 9, 9]


def test_groups_start_at_edges_and_in_order() -> None:
    with pytest.raises(ValidationError, match=r"small_below \(36\) must be less than large_from \(36\)"):
        max_box_acc_by_size.Config(small_below=36)
    with pytest.raises(ValidationError, match="small_below"):
        max_box_acc_by_size.Config.model_validate({"small_below": 5})


def test_shards_merged_equal_one_pass() -> None:
    samples = [random_sample(seed) for seed in range(9)]
    whole, total = counted(metric(), samples), metric()
    for shard in (samples[0::2], samples[1::2], []):
        total.merge(counted(metric(), shard).state())
    assert total.compute() == whole.compute()
    assert all(torch.equal(total.state()[key], value) for key, value in whole.state().items())
    assert all(value.dtype == torch.int64 for value in whole.state().values())
    assert next(iter(whole.compute())) == "max_box_acc_by_size" and whole.higher_is_better


def test_a_state_is_a_copy_and_boxes_are_needed() -> None:
    counter = metric()
    kept = counter.state()
    counter.update(random_sample(0))
    assert not any(value.any() for value in kept.values())
    masks = Sample(np.zeros((4, 4)), Annotation((0, 0), np.zeros((0, 4), np.int64), np.ones((4, 4), np.uint8)), 0)
    with pytest.raises(ValueError, match="data set with boxes"):
        counter.update(masks)
    with pytest.raises(ValueError, match="max_box_acc_by_size has counted no image"):
        metric().compute()
