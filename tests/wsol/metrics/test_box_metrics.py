"""Metrics over boxes: the recorded chain, four images by hand, classes and contours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vectors import files, load
from wsol.contract.samples import counted, metric, random_sample
from wsol.metric import Sample
from wsol.metrics import max_box_acc, max_box_acc_v2, top1
from wsol.normalizers.min_max import min_max
from wsol.ops.boxes import boxes_by_level, iou, threshold_values
from wsol.ops.resize import resize_maps
from wsol.types import Annotation


def scaled(score_map):
    return min_max(torch.as_tensor(score_map)[None]).numpy()[0]


@pytest.mark.parametrize("path", files("box_accuracy"))
def test_the_whole_chain_equals_the_recorded_one(path):
    case = load(path)
    maps = min_max(resize_maps(torch.from_numpy(case["cams_28"]), (224, 224))).numpy()
    boxes = np.split(case["gt_boxes_original"], np.cumsum(case["gt_counts"])[:-1])
    samples = [
        Sample(m, Annotation(tuple(size), b), 0)
        for m, size, b in zip(maps, case["image_sizes_wh"].tolist(), boxes, strict=True)
    ]
    assert np.array_equal(np.concatenate([sample.grid_boxes for sample in samples]), case["gt_boxes_224"])
    plugin = max_box_acc_v2 if "multi_contour_True" in path.stem else max_box_acc
    counter = counted(metric(plugin), samples)
    assert np.array_equal(threshold_values(0.001), case["thresholds"])
    assert np.array_equal(counter.state()["counts"], case["num_correct"])
    values = counter.compute()
    best = [values[f"{plugin.Config().name}/iou_{delta}"] for delta in (30, 50, 70)]
    assert best == pytest.approx(case["max_box_acc_30_50_70"].tolist(), abs=1e-9)
    if plugin is max_box_acc:  # its headline is one level; the recorded mean is of the same boxes
        assert values["max_box_acc"] == best[1]
        values = counted(max_box_acc_v2.MaxBoxAccV2("max_box_acc_v2", "largest", 0.001), samples).compute()
    assert values["max_box_acc_v2"] == pytest.approx(case["max_box_acc_v2"].item(), abs=1e-8)


@pytest.mark.parametrize(("rows", "level"), [(3, 30), (5, 50), (7, 70)])
def test_an_overlap_of_exactly_the_level_is_right(rows, level):
    """A box of 10 x 10 pixels, and a map whose box has some of its rows; one less is too few. The published boxes
    are one pixel wider and higher than what they surround."""
    box = np.array([[2, 2, 11, 11]])
    for filled, expected in ((rows, 100.0), (rows - 1, 0.0)):
        score_map = np.zeros((16, 16))
        score_map[2 : 1 + filled, 2:11] = 1
        assert Sample(score_map, Annotation((16, 16), box), 0).best_iou("largest").max() == filled / 10
        for plugin in (max_box_acc, max_box_acc_v2):
            counter = counted(metric(plugin), [Sample(score_map, Annotation((16, 16), box), 0)])
            assert counter.compute()[f"{plugin.Config().name}/iou_{level}"] == expected


def bump(cx, cy, sx, sy):
    y, x = np.mgrid[:224, :224]
    return np.exp(-((x - cx) ** 2 / (2 * sx**2) + (y - cy) ** 2 / (2 * sy**2)))


@pytest.fixture(scope="module")
def four_images():
    """Two blobs, a ring, a ramp, nothing: image size, true boxes in it and on the grid, score map."""
    y, x = np.mgrid[:224, :224]
    blobs = bump(60, 50, 30, 20) + 0.7 * bump(170, 160, 15, 25)
    ring = np.exp(-((np.hypot(x - 112, y - 112) - 60) ** 2) / (2 * 15**2))
    return {
        "a": (
            (448, 224),
            [(20, 10, 219, 111), (300, 120, 399, 219)],
            [(10, 10, 109, 111), (150, 120, 199, 219)],
            scaled(blobs),
        ),
        "b": ((500, 375), [(134, 100, 365, 274)], [(60, 59, 163, 163)], scaled(ring)),
        "c": ((300, 400), [(120, 180, 299, 399)], [(89, 100, 223, 223)], scaled((x + 2 * y).astype(float))),
        "d": ((224, 224), [(0, 0, 20, 20)], [(0, 0, 20, 20)], np.zeros((224, 224))),
    }


def sample_of(image, step=0.001):
    size, boxes, _, score_map = image
    return Sample(score_map, Annotation(size, np.array(boxes)), 0, threshold_step=step)


HITS = [
    ("a", "all", [(542, 4, 545), (353, 4, 356), (98, 95, 192)]),
    ("a", "largest", [(542, 4, 545), (353, 4, 356), None]),
    ("b", "all", [(934, 63, 996), (749, 248, 996), (510, 487, 996)]),
    ("b", "largest", [(934, 63, 996), (310, 687, 996), (8, 989, 996)]),
    *[("c", contours, [(848, 0, 847), (255, 553, 807), None]) for contours in ("all", "largest")],
    *[("d", contours, [None, None, None]) for contours in ("all", "largest")],
]


@pytest.mark.parametrize(("name", "contours", "expected"), HITS)
def test_thresholds_at_which_an_image_is_right(four_images, name, contours, expected):
    sample = sample_of(four_images[name])
    assert sample.grid_boxes.tolist() == [list(box) for box in four_images[name][2]]
    right = [np.flatnonzero(sample.best_iou(contours) >= delta / 100) for delta in (30, 50, 70)]
    assert [(len(hits), hits[0], hits[-1]) if len(hits) else None for hits in right] == expected


@pytest.mark.parametrize(
    ("plugin", "step", "indices", "sums"),
    [
        (max_box_acc_v2, 0.001, (63, 248, 95), (2324, 1357, 608)),
        (max_box_acc_v2, 0.01, (7, 25, 10), (232, 135, 61)),
        (max_box_acc, 0.001, (63, 687, 989), (2324, 918, 8)),
        (max_box_acc, 0.01, (7, 69, 99), (232, 91, 1)),
    ],
)
def test_numbers_of_the_four_images(four_images, plugin, step, indices, sums):
    name = plugin.Config().name
    counter = counted(metric(plugin, step), [sample_of(image, step) for image in four_images.values()])
    values = counter.compute()
    assert [values[f"{name}/iou_{delta}"] for delta in (30, 50, 70)] == [75, 50, 25]
    assert values[name] == 50
    assert [values[f"{name}/threshold_{delta}"] for delta in (30, 50, 70)] == [index * step for index in indices]
    assert tuple(counter.state()["counts"].sum(1).tolist()) == sums


@pytest.mark.parametrize(
    ("name", "threshold", "boxes"),
    [
        ("a", 0.1, [(141, 111, 200, 210), (0, 8, 125, 93)]),
        ("a", 0.3, [(151, 128, 190, 193), (14, 20, 107, 81)]),
        ("a", 0.5, [(158, 140, 183, 181), (25, 27, 96, 74)]),
        ("a", 0.8, [(41, 37, 80, 64)]),
        ("b", 0.1, [(84, 84, 141, 141), (20, 20, 205, 205)]),
        ("b", 0.3, [(75, 75, 150, 150), (29, 29, 196, 196)]),
        ("b", 0.5, [(69, 69, 156, 156), (35, 35, 190, 190)]),
        ("b", 0.8, [(61, 61, 164, 164), (43, 43, 182, 182)]),
    ],
)
def test_boxes_of_the_four_images(four_images, name, threshold, boxes):
    found = boxes_by_level(four_images[name][3])
    assert sorted(map(tuple, found.at(int(threshold * 255)).tolist())) == sorted(boxes)
    assert tuple(found.largest[int(threshold * 255)].tolist()) == boxes[-1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_v2_is_the_mean_of_the_best_counts_over_boxes_found_one_threshold_at_a_time(seed):
    samples = [random_sample(seed + offset) for offset in range(3)]
    best = []
    for delta in (0.3, 0.5, 0.7):
        rows = [
            [iou(s.level_boxes.at(int(t * 0.01 * 255)), s.grid_boxes).max() >= delta for t in range(100)]
            for s in samples
        ]
        best.append(100 * np.mean(rows, axis=0).max())
    assert counted(metric(max_box_acc_v2, 0.01), samples).compute()["max_box_acc_v2"] == pytest.approx(np.mean(best))


def test_top1_needs_the_class_and_the_box():
    random = [random_sample(seed) for seed in range(12)]
    values = counted(metric(top1, 0.01), random).compute()
    known = counted(metric(max_box_acc, 0.01), random).compute()["max_box_acc"]
    assert values["gt_known/loc"] == known
    assert values["top1"] == values["top1/loc"] <= values["top5/loc"] <= known
    assert values["top1/cls"] == pytest.approx(100 * np.mean([s.logits.argmax() == s.label for s in random]))
    assert values["top5/cls"] == pytest.approx(
        100 * np.mean([s.label in np.argsort(-s.logits, kind="stable")[:5] for s in random])
    )
    right = np.array([(s.best_iou("largest") >= 0.5) & (s.logits.argmax() == s.label) for s in random])
    assert values["top1/loc"] == pytest.approx(100 * right.mean(0).max())


def test_top1_without_logits_knows_the_box_only():
    sample = random_sample(0)
    bare = Sample(sample.score_map, sample.annotation, sample.label, None, 0.01)
    assert set(counted(metric(top1, 0.01), [sample, bare]).compute()) == {"gt_known/loc"}


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("logits", "label", "rank"),
    [
        ([1, 3, 2], 1, 0),
        ([1, 3, 2], 0, 2),
        ([0, 0, 0], 0, 0),
        ([0, 0, 0], 2, 2),
        ([NAN] * 3, 1, 3),
        ([NAN, 1, 0], 1, 1),
        ([-INF, INF, 0], 1, 0),
    ],
)
def test_class_rank(logits, label, rank):
    sample = random_sample(0)
    assert Sample(sample.score_map, sample.annotation, label, np.array(logits, np.float32)).class_rank == rank


@pytest.mark.parametrize(
    "bad",
    [
        np.full((3, 3), np.nan),
        np.full((3, 3), 1.5),
        np.full((3, 3), -0.5),
        np.zeros((1, 3, 3)),
        np.zeros((3, 3), np.float32),
    ],
)
def test_bad_score_maps_are_refused(bad):
    with pytest.raises(ValueError, match="score map"):
        Sample(bad, Annotation((3, 3), np.array([(0, 0, 1, 1)])), 0)


def test_box_metrics_need_boxes():
    sample = Sample(np.zeros((4, 4)), Annotation((0, 0), np.zeros((0, 4), np.int64), np.ones((4, 4), np.uint8)), 0)
    with pytest.raises(ValueError, match="data set with boxes"):
        metric(max_box_acc).update(sample)


def test_metrics_share_one_contour_pass(monkeypatch):
    calls = []
    monkeypatch.setattr("wsol.metric.boxes_by_level", lambda score_map: calls.append(1) or boxes_by_level(score_map))
    sample = random_sample(3)
    for plugin in (max_box_acc_v2, max_box_acc, top1):
        metric(plugin, 0.01).update(sample)
    assert len(calls) == 1


def test_thresholds_of_other_images_give_the_count_at_that_threshold(four_images):
    """Image a is right at IoU 50 at thresholds 0.004 to 0.356, image b at 0.248 to 0.996."""
    samples = [sample_of(four_images[name]) for name in "ab"]
    counter = counted(metric(max_box_acc_v2), samples)
    chosen = {f"max_box_acc_v2/threshold_{level}": 0.1 for level in (30, 50, 70)}
    assert counter.compute()["max_box_acc_v2/iou_50"] == 100.0
    assert counter.compute_at(chosen)["max_box_acc_v2/fixed_iou_50"] == 50.0
    assert counter.compute_at({**chosen, "max_box_acc_v2/threshold_50": 0.3})["max_box_acc_v2/fixed_iou_50"] == 100.0
    assert counter.compute_at({**chosen, "max_box_acc_v2/threshold_50": 0.002})["max_box_acc_v2/fixed_iou_50"] == 0.0
    assert counter.compute_at({}) == {}
