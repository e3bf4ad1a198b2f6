import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.reference_boxes import boxes_at as reference_boxes_at
from tests.support.vectors import files, load
from wsol.ops import component_tree
from wsol.ops.boxes import best_iou, boxes_by_level, iou, resize_boxes, threshold_levels, threshold_values
from wsol.ops.lazy import lazy


def as_set(boxes):
    return sorted(map(tuple, np.asarray(boxes).tolist()))


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


def test_what_is_found_lazily_is_found_once_and_by_two_objects_at_once() -> None:
    """With a lock for all objects, as in `functools.cached_property` before Python 3.12, neither would meet the
    other."""
    meeting = threading.Barrier(2)
    found: list[int] = []

    class Slow:
        @lazy
        def value(self) -> int:
            meeting.wait(timeout=10)
            found.append(1)
            return 5

    objects = [Slow(), Slow()]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda slow: slow.value + slow.value, objects)) == [10, 10]
    assert len(found) == 2


ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from wsol.ops import component_tree
from wsol.ops.boxes import boxes_by_level
assert "numba" not in sys.modules
maps = [np.random.default_rng(seed).random((12, 12)) for seed in range(8)]
with ThreadPoolExecutor(8) as pool:
    together = list(pool.map(lambda one: boxes_by_level(one).all.tolist(), maps))
assert together == [boxes_by_level(one).all.tolist() for one in maps]
assert type(component_tree.all_boxes).__module__.startswith("numba")
"""


def test_machine_code_is_made_at_the_first_call_and_once() -> None:
    subprocess.run([sys.executable, "-c", ONCE], check=True, timeout=120)


NAMED = """
import numpy as np
from wsol.ops import component_tree as tree
assert len(tree.components(np.eye(4, dtype=np.uint8), areas=True)) == 1
"""


def test_the_first_call_may_name_its_arguments() -> None:
    subprocess.run([sys.executable, "-c", NAMED], check=True, timeout=120)
