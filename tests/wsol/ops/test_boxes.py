"""Boxes of a map: the recorded ones, geometry, small maps by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.painted_maps import as_set
from tests.support.vectors import files, load
from wsol.ops.boxes import boxes_by_level, iou, original_boxes, resize_boxes, threshold_levels, threshold_values


def boxes_at(score_map, threshold):
    """All boxes, and the largest contour's, of a map at one threshold."""
    found = boxes_by_level(np.asarray(score_map, float))
    level = int(threshold * found.peak)
    return as_set(found.at(level)), tuple(found.largest[level].tolist())


@pytest.mark.parametrize("path", files("boxes_from_score_map"))
def test_boxes_equal_the_recorded_ones(path):
    case = load(path)
    found = boxes_by_level(case["score_map"].astype(float))
    levels = threshold_levels(len(case["thresholds"]) ** -1, found.peak)
    assert np.array_equal(threshold_values(len(case["thresholds"]) ** -1), case["thresholds"])
    expected = np.split(case["all_boxes"], np.cumsum(case["all_counts"])[:-1])
    for level, boxes, largest in zip(levels, expected, case["largest_boxes"], strict=True):
        assert as_set(found.at(level)) == as_set(boxes)
        assert found.largest[level].tolist() == largest.tolist()


@pytest.mark.parametrize("path", files("box_geometry"))
def test_geometry_equals_the_recorded_one(path):
    case = load(path)
    assert np.abs(iou(case["boxes_a"], case["boxes_b"]) - case["iou"]).max() <= 1e-12
    sizes = map(tuple, case["image_sizes_wh"].tolist())
    resized = [
        resize_boxes(box[None], size, (224, 224))[0] for box, size in zip(case["original_boxes"], sizes, strict=True)
    ]
    assert np.array_equal(resized, case["resized_224"])


def test_overlap_counts_the_last_pixel():
    assert np.array_equal(iou(np.zeros((3, 4)), np.zeros((5, 4))), np.ones((3, 5)))
    corners = [(1, 1, 3, 3), (4, 4, 5, 5)]
    assert np.array_equal(iou(corners, corners), np.eye(2))
    assert iou([(1, 2, 5, 6)], [(3, 1, 4, 5)])[0, 0] == pytest.approx(8 / 27, abs=1e-12)


@pytest.mark.parametrize("box", [(1, 1, 0, 0), (-1, 0, 3, 3), (0, 3, 3, 2)])
def test_reversed_and_negative_boxes_are_refused(box):
    with pytest.raises(ValueError, match="x0 <= x1"):
        iou([box], [(1, 1, 2, 2)])
    with pytest.raises(ValueError, match="x0 <= x1"):
        resize_boxes([box], (10, 10), (5, 5))


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        iou([1, 2, 3, 4], [(1, 1, 2, 2)])


def test_resized_boxes_are_truncated():
    assert resize_boxes([(1, 2, 4, 3)], (10, 20), (35, 10)).tolist() == [[3, 1, 14, 1]]
    assert resize_boxes([(1, 2, 1, 2)], (3, 3), (3, 3)).tolist() == [[1, 2, 1, 2]]
    with pytest.raises(ValueError, match="positive"):
        resize_boxes([(1, 2, 1, 2)], (0, 0), (224, 224))


SIDES = st.integers(1, 700)


@given(SIDES, SIDES, st.integers(1, 400), st.data())
def test_boxes_come_back_to_the_grid(width, height, side, data):
    corners = [sorted(data.draw(st.tuples(*[st.integers(0, side - 1)] * 2))) for _ in "xy"]
    box = [[corners[0][0], corners[1][0], corners[0][1], corners[1][1]]]
    found = original_boxes(box, (width, height), (side, side))
    x0, y0, x1, y1 = found[0].tolist()
    assert 0 <= x0 <= x1 < width and 0 <= y0 <= y1 < height
    back = resize_boxes(found, (width, height), (side, side))
    for axis, length in ((0, width), (1, height)):
        if length >= side:
            assert back[0, axis::2].tolist() == corners[axis]
            wider = found + np.array([[-1, -1, 1, 1]])[:, [0, 1, 2, 3]] * (np.arange(4) % 2 == axis)
            if wider.min() >= 0 and wider[0, axis + 2] < length:
                outside = resize_boxes(wider, (width, height), (side, side))[0, axis::2].tolist()
                assert outside[0] < corners[axis][0] and outside[1] > corners[axis][1], "it is the largest one"


def test_boxes_on_an_image_smaller_than_the_grid_are_the_pixels_that_they_touch():
    assert original_boxes([(1, 1, 1, 1), (0, 0, 3, 3), (1, 2, 2, 3)], (2, 4), (4, 4)).tolist() == [
        [0, 1, 0, 1],
        [0, 0, 1, 3],
        [1, 2, 1, 3],
    ]
    with pytest.raises(ValueError, match="positive"):
        original_boxes([(1, 2, 1, 2)], (0, 5), (4, 4))


@pytest.mark.parametrize("contours", ["all", "largest"])
def test_predicted_boxes(contours):
    score_map = np.zeros((8, 8))
    score_map[1:3, 1:6], score_map[6, 6] = 1, 0.5
    found = boxes_by_level(score_map)
    large, small = [1, 1, 6, 3], [6, 6, 7, 7]
    assert found.predicted(0.2, contours).tolist() == ([large, small] if contours == "all" else [large])
    for high in (0.6, 0.999, 1.0):
        assert found.predicted(high, contours).tolist() == [large]
    assert found.predicted(0.999, contours).shape == (1, 4)
    assert boxes_by_level(np.zeros((8, 8))).predicted(0.0, contours).shape == (0, 4)


MAP_A3_2 = [[0, 0, 0, 0, 0], [0, 0.4, 0.4, 0.4, 0.6], [0, 0.4, 1, 0.8, 0.6], [0, 0.4, 0.4, 0.4, 0.6]]
MAP_A3_3 = [[0.4, 0, 0.2, 0.2, 0.2], [0.4, 0.4, 0, 0.4, 0], [0, 0, 0, 0.4, 0], [1, 0.6, 0.8, 0.2, 0.2]]


@pytest.mark.parametrize(
    ("score_map", "largest"),
    [
        (np.zeros((3, 3)), [(0, 0, 0, 0)] * 5),
        (MAP_A3_2, [(1, 1, 4, 3), (1, 1, 4, 3), (2, 1, 4, 3), (2, 2, 4, 3), (2, 2, 3, 3)]),
        (MAP_A3_3, [(0, 0, 4, 3), (0, 0, 2, 2), (0, 3, 3, 3), (2, 3, 3, 3), (0, 3, 1, 3)]),
    ],
)
def test_largest_boxes_of_small_maps(score_map, largest):
    assert [boxes_at(score_map, threshold)[1] for threshold in (0, 0.2, 0.4, 0.6, 0.8)] == largest


@pytest.mark.parametrize(
    "bad", [np.full((3, 3), np.nan), np.full((3, 3), 1.1), np.full((3, 3), -0.1), np.zeros(3), np.zeros((0, 3))]
)
def test_bad_maps_are_refused(bad):
    with pytest.raises(ValueError, match="score map"):
        boxes_by_level(bad)


def painted(size, *rectangles):
    """A map of zeros with rectangles (x0, y0, x1, y1 inclusive, value), later ones on top."""
    score_map = np.zeros((size, size))
    for x0, y0, x1, y1, value in rectangles:
        score_map[y0 : y1 + 1, x0 : x1 + 1] = value
    return score_map


FOUR_DOTS = painted(8, (1, 1, 1, 1, 1), (6, 6, 6, 6, 1), (6, 1, 6, 1, 0.5), (1, 6, 1, 6, 0.5))
RING = painted(9, (1, 1, 7, 7, 1), (3, 3, 5, 5, 0), (4, 4, 4, 4, 0.9))
FLAT_PEAK = painted(6, (0, 0, 5, 5, 0.2), (3, 2, 3, 2, 1))
FAINT = painted(6, (0, 0, 0, 0, 1), (5, 5, 5, 5, 1), (1, 3, 1, 3, 1 / 255), (4, 1, 4, 1, 0.9 / 255))


@pytest.mark.parametrize(
    ("score_map", "threshold", "all_boxes", "largest"),
    [
        (FOUR_DOTS, 0, [(6, 6, 7, 7), (1, 6, 2, 7), (6, 1, 7, 2), (1, 1, 2, 2)], (6, 6, 7, 7)),
        (FOUR_DOTS, 0.5, [(6, 6, 7, 7), (1, 1, 2, 2)], (6, 6, 7, 7)),
        (painted(8, (1, 1, 2, 2, 1), (5, 5, 6, 6, 1)), 0, [(5, 5, 7, 7), (1, 1, 3, 3)], (5, 5, 7, 7)),
        (RING, 0, [(1, 1, 8, 8), (2, 2, 7, 7), (4, 4, 5, 5)], (1, 1, 8, 8)),
        (RING, 0.95, [(1, 1, 8, 8), (2, 2, 7, 7)], (1, 1, 8, 8)),
        *[(np.ones((6, 6)), threshold, [(0, 0, 5, 5)], (0, 0, 5, 5)) for threshold in (0, 0.5, 0.999)],
        *[(FLAT_PEAK, threshold, [(0, 0, 5, 5)], (0, 0, 5, 5)) for threshold in (0, 0.1)],
        *[(FLAT_PEAK, threshold, [(3, 2, 4, 3)], (3, 2, 4, 3)) for threshold in (0.2, 0.3)],
        *[(FAINT, threshold, [(5, 5, 5, 5), (1, 3, 2, 4), (0, 0, 1, 1)], (5, 5, 5, 5)) for threshold in (0, 0.001)],
        *[(FAINT, threshold, [(5, 5, 5, 5), (0, 0, 1, 1)], (5, 5, 5, 5)) for threshold in (0.004, 0.5)],
        (painted(8, (0, 0, 7, 0, 1), (4, 4, 5, 5, 1)), 0, [(0, 0, 7, 1), (4, 4, 6, 6)], (4, 4, 6, 6)),
        (np.eye(5), 0, [(0, 0, 4, 4)], (0, 0, 4, 4)),
    ],
)
def test_contour_geometry(score_map, threshold, all_boxes, largest):
    assert boxes_at(score_map, threshold) == (sorted(all_boxes), largest)


def test_thresholds_fall_on_the_levels():
    levels = threshold_levels(0.001)
    assert np.array_equal(levels, 255 * np.arange(1000) // 1000)
    assert sorted(np.bincount(np.bincount(levels))[3:].tolist()) == [20, 235]
    assert len(set(threshold_levels(0.01))) == 100
    assert not threshold_levels(0.001, peak=0).any()


def test_eight_bits_truncate():
    ramp = np.arange(256)[None] / 255
    assert boxes_by_level(ramp).at(254).tolist() == [[255, 0, 255, 0]]
    assert boxes_by_level(np.nextafter(ramp, 0)).at(253).tolist() == [[255, 0, 255, 0]]
