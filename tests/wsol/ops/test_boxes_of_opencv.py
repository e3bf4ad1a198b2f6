"""Boxes of a map against those of OpenCV, on families of maps and on every small map."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.painted_maps import as_set
from tests.support.reference_boxes import boxes_at as reference_boxes_at
from wsol.ops import component_tree
from wsol.ops.boxes import best_iou, boxes_by_level, iou


def noise(random, height, width):
    return random.integers(0, 256, (height, width))


def plateaus(random, height, width):
    return np.kron(random.integers(0, 6, (height, width)) * 51, np.ones(random.integers(1, 4, 2), int))


def two_values(random, height, width):
    return random.integers(0, 2, (height, width)) * 255


def smooth(random, height, width):
    return cv2.GaussianBlur(noise(random, height, width).astype(np.float32), (5, 5), 1).reshape(height, width)


def sparse(random, height, width):
    return noise(random, height, width) * (random.random((height, width)) < 0.15)


def dented(random, height, width):
    return 255 - sparse(random, height, width)


def nested_rings(random, height, width):
    y, x = np.mgrid[:height, :width]
    rings = np.maximum(abs(x - width // 2), abs(y - height // 2)) // random.integers(1, 3)
    return random.integers(0, 256, rings.max() + 1)[rings] ^ (
        noise(random, height, width) * (random.random((height, width)) < 0.05)
    )


def single_pixel(random, height, width):
    pixels = np.zeros((height, width), int)
    pixels[random.integers(height), random.integers(width)] = random.integers(1, 256)
    return pixels


def constant(random, height, width):
    return np.full((height, width), random.integers(256))


def one_row(random, height, width):
    return noise(random, 1, width)


def one_column(random, height, width):
    return plateaus(random, height, 1)


def border(random, height, width):
    pixels = noise(random, height, width)
    pixels[1:-1, 1:-1] //= random.integers(2, 50)
    return pixels


def assert_equal_to_reference(pixels):
    """At every level: the reference changes only where a pixel has the level, so each of these stands for the levels up
    to the next."""
    found = boxes_by_level(pixels / 255)
    levels = sorted({0, *pixels[pixels < 255].tolist()})
    for level, end in zip(levels, [*levels[1:], 255], strict=True):
        boxes, largest = reference_boxes_at(pixels, level)
        for same in {level, (level + end) // 2, end - 1}:
            assert as_set(found.at(same)) == boxes
        assert (found.largest[level:end] == largest).all()


FAMILIES = [
    noise,
    plateaus,
    two_values,
    smooth,
    sparse,
    dented,
    nested_rings,
    single_pixel,
    constant,
    one_row,
    one_column,
    border,
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [5, 12, 26])
def test_boxes_equal_those_of_opencv(family, side):
    random = np.random.default_rng(side)
    for _ in range(1000 // side):
        assert_equal_to_reference(family(random, *random.integers(1, side, 2)).astype(np.uint8))


@pytest.mark.parametrize("cells", [7, 14, 28])
def test_boxes_of_enlarged_maps_equal_those_of_opencv(cells):
    raw = np.random.default_rng(cells).standard_normal((cells, cells))
    enlarged = cv2.resize(raw, (224, 200), interpolation=cv2.INTER_CUBIC)
    assert_equal_to_reference((255 * (enlarged - enlarged.min()) / np.ptp(enlarged)).astype(np.uint8))


@pytest.mark.parametrize("family", FAMILIES)
def test_holes_are_filled_at_every_level(family):
    pixels = family(np.random.default_rng(1), 14, 17).astype(np.uint8)
    _, filled = component_tree.holes(pixels)
    for level in range(255):
        contours, _ = cv2.findContours((pixels > level).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        solid = cv2.drawContours(np.zeros_like(pixels), contours, -1, 1, cv2.FILLED)
        assert np.array_equal(filled > level, solid > 0)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_barriers_are_never_too_low(family, diagonal):
    surface = family(np.random.default_rng(2), 11, 9).astype(np.uint8)
    land = np.full_like(surface, 255)
    land[0, 0] = 0
    exact, before = np.maximum(surface, land), None
    while before is None or (exact != before).any():
        before = exact
        lowest = cv2.erode(
            exact, np.ones((3, 3), np.uint8) if diagonal else cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        )
        exact = np.maximum(surface, lowest.reshape(surface.shape))
    bound = component_tree.barriers(surface, land, diagonal)
    assert (bound >= exact).all()
    assert np.array_equal(component_tree.dilated(surface > 99, diagonal), neighbourhoods(surface > 99, diagonal))


def neighbourhoods(mask, diagonal):
    padded = np.pad(mask, 1)
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), *([(1, 1), (1, -1), (-1, 1), (-1, -1)] if diagonal else [])]
    return np.any([np.roll(padded, move, (0, 1)) for move in moves], axis=0)[1:-1, 1:-1]


small_maps = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(1, 255)).map(
    lambda draw: np.random.default_rng(draw[2]).integers(0, draw[3] + 1, draw[:2]) / 255
)


@settings(max_examples=60, deadline=None)
@given(small_maps)
def test_boxes_lie_inside_and_every_level_has_one(score_map):
    found = boxes_by_level(score_map)
    corners = found.all[:, 2:]
    assert (corners >= 0).all() and (corners[:, 2:] >= corners[:, :2]).all()
    assert (corners.max(0)[2:] < score_map.shape[::-1]).all()
    for level in range(255):
        assert found.largest[level].tolist() in found.at(level).tolist()


@settings(max_examples=60, deadline=None)
@given(small_maps, st.integers(0, 2**32 - 1))
def test_best_overlap_is_the_maximum_over_the_boxes_of_a_level(score_map, seed):
    corners = np.sort(np.random.default_rng(seed).integers(0, 12, (3, 2, 2)), axis=1)
    truth = corners.reshape(3, 4)
    found = boxes_by_level(score_map)
    assert best_iou(found, truth).tolist() == [iou(found.at(level), truth).max() for level in range(255)]
    assert best_iou(found, truth, "largest").tolist() == [
        iou(found.largest[[level]], truth).max() for level in range(255)
    ]
