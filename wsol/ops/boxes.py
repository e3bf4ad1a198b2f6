"""Boxes: coordinates, overlap, and the boxes that a score map predicts at every threshold.

All boxes are inclusive corners (x0, y0, x1, y1) in pixels. The rules are those of "Evaluating Weakly Supervised Object
Localization Methods Right" (Choe et al., CVPR 2020) and of its released evaluator, to the last bit. That evaluator
follows the contours of every threshold anew; here the boxes of all levels come from two passes over the map
(`wsol/ops/component_tree.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wsol.ops import component_tree as tree
from wsol.ops.compiled import compiled
from wsol.ops.lazy import lazy

Contours = Literal["all", "largest"]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


def resize_boxes(boxes: npt.ArrayLike, image_size: tuple[int, int], grid: tuple[int, int]) -> Ints:
    """Boxes of an image on a grid of another size: exact integers, truncated.

    Args:
        boxes: (n, 4) integers inside the image.
        image_size: (W, H) of the image.
        grid: (W, H) of the grid.

    Returns:
        (n, 4) int64.

    Raises:
        ValueError: a box is reversed or negative, or a size is not positive.
    """
    if min(*image_size, *grid) < 1:
        raise ValueError(f"sizes must be positive, got image {image_size} and grid {grid}")
    scaled: Ints = _checked(boxes) * np.tile(grid, 2) // np.tile(image_size, 2)
    return scaled


def original_boxes(boxes: npt.ArrayLike, image_size: tuple[int, int], grid: tuple[int, int]) -> Ints:
    """Boxes of a grid on its image: the inverse of `resize_boxes`.

    A box becomes the largest one that `resize_boxes` brings back to it: from the first pixel that lies on its first
    column (row) of the grid to the last one on its last. Such a box exists if the image is at least as wide and as high
    as the grid; along a smaller side, where some columns have no pixel, it covers all pixels that the box touches.

    Args:
        boxes: (n, 4) integers inside the grid.
        image_size: (W, H) of the image.
        grid: (W, H) of the grid.

    Returns:
        (n, 4) int64, inside the image.

    Raises:
        ValueError: a box is reversed or negative, or a size is not positive.
    """
    if min(*image_size, *grid) < 1:
        raise ValueError(f"sizes must be positive, got image {image_size} and grid {grid}")
    array, image, sides = _checked(boxes), np.array(image_size), np.array(grid)
    last = -(-(array[:, 2:] + 1) * image // sides) - 1
    first = np.minimum(-(-array[:, :2] * image // sides), last)
    whole: Ints = np.concatenate([first, last], 1)
    return whole


def iou(boxes_a: npt.ArrayLike, boxes_b: npt.ArrayLike) -> Floats:
    """Intersection over union of every pair; a box covers (x1 - x0 + 1) (y1 - y0 + 1) pixels.

    Args:
        boxes_a: (n, 4) integers.
        boxes_b: (m, 4) integers.

    Returns:
        (n, m) float64 in [0, 1].

    Raises:
        ValueError: a box is reversed or negative.
    """
    a, b = _checked(boxes_a)[:, None], _checked(boxes_b)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    overlap = sides.clip(min=0).prod(-1)
    quotient: Floats = overlap / (_areas(a) + _areas(b) - overlap)
    return quotient


@dataclass(frozen=True, eq=False)
class LevelBoxes:
    """The boxes of one score map at every level. Each of the two kinds is computed when it is first used.

    Attributes:
        pixels: (H, W) uint8, the 8-bit map.
    """

    pixels: Pixels

    @lazy
    def peak(self) -> int:
        """Maximum of the 8-bit map."""
        return int(self.pixels.max())

    # Few long calls: a thread that comes back from compiled code waits for the interpreter, longer than a short piece
    # of it computes.

    @lazy
    def all(self) -> Ints:
        """(n, 6) int64: first and last level, x0, y0, x1, y1 of the boxes of all contours; (0, 0, 0, 0) where there is
        no contour."""
        boxes: Ints = tree.all_boxes(self.pixels, self._holes[0], self.peak)
        return boxes

    @lazy
    def largest(self) -> Ints:
        """(255, 4) int64, the box of the contour with the largest polygon area, per level; of equals the one found last
        in raster order.

        A hole or a component inside a hole is never larger than what surrounds it, so only outer outlines have to be
        compared.
        """
        largest: Ints = tree.largest_boxes(self._holes[1])
        return largest

    def predicted(self, threshold: float, contours: Contours) -> Ints:
        """The boxes (m, 4) that metrics count at a score threshold, the one with the largest area first; none if the
        map is all zero.

        Args:
            threshold: score threshold in [0, 1]; at 1 the pixels with the highest score are the foreground.
            contours: `all` contours predict a box, or only the `largest`.
        """
        if not self.peak:
            return np.empty((0, 4), np.int64)
        level = min(int(threshold * self.peak), self.peak - 1)
        if contours == "largest":
            return self.largest[level : level + 1]
        boxes = np.unique(self.at(level), axis=0)
        return boxes[np.argsort(-_areas(boxes), kind="stable")]

    def at(self, level: int) -> Ints:
        """The boxes (m, 4) of all contours at a level, in no order."""
        return self.all[(self.all[:, 0] <= level) & (level <= self.all[:, 1]), 2:]

    @lazy
    def _holes(self) -> tuple[Ints, Pixels]:
        """The boxes of holes as in `all`, and the 8-bit map without its holes."""
        boxes, filled = tree.hole_boxes(self.pixels)
        return boxes, filled


def boxes_by_level(score_map: Floats) -> LevelBoxes:
    """The boxes of a score map at all 255 levels.

    The map becomes 8-bit by truncation of 255 s. A level's foreground is every pixel strictly above it; each of its
    8-connected components and each 4-connected hole in one has a contour, which runs through foreground pixels, and
    each contour with columns x .. x + w - 1 and rows y .. y + h - 1 a box (x, y, x + w, y + h), clamped to the last
    pixel.

    Args:
        score_map: (H, W) in [0, 1].

    Raises:
        ValueError: the map has another rank, NaN, or values outside [0, 1].
    """
    return LevelBoxes(quantise(score_map))


def quantise(score_map: Floats) -> Pixels:
    """The 8-bit map (H, W): 255 s, truncated. Raises ValueError for another rank, NaN, or values outside [0, 1]."""
    if score_map.ndim != 2 or score_map.size == 0:
        raise ValueError(f"a score map is a non-empty (H, W) array, got shape {score_map.shape}")
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise ValueError("a score map must lie in [0, 1] and have no NaN")
    return (score_map * 255).astype(np.uint8)


def best_iou(level_boxes: LevelBoxes, truth: npt.ArrayLike, contours: Contours = "all") -> Floats:
    """The best IoU of any predicted box with any true box, per level.

    Args:
        level_boxes: the boxes of one score map.
        truth: (n, 4) integers, n > 0, the true boxes on the grid of the map.
        contours: `all` contours predict a box, or only the `largest`.

    Returns:
        (255,) float64 in [0, 1].

    Raises:
        ValueError: a true box is reversed or negative.
    """
    if contours == "largest":
        largest: Floats = iou(level_boxes.largest, truth).max(1)
        return largest
    best: Floats = _best_iou(level_boxes.all, _checked(truth), tree.LEVELS)
    return best


def threshold_levels(step: float, peak: int = 255) -> Ints:
    """The level of every threshold 0, step, 2 step, ... < 1.

    Args:
        step: the distance of two thresholds, in (0, 1).
        peak: maximum of the 8-bit map; 255 for every normalised map, 0 for zeros.

    Returns:
        (T,) int64 in [0, 254], T = ceil(1 / step): the threshold times the peak, truncated.
    """
    return levels_at(threshold_values(step), peak)


def levels_at(thresholds: Floats, peak: int) -> Ints:
    """The level of every threshold in [0, 1): the threshold times the maximum of the 8-bit map, truncated."""
    levels: Ints = (thresholds * peak).astype(np.int64)
    return levels


def threshold_values(step: float) -> Floats:
    """The thresholds i * step, i = 0 .. ceil(1 / step) - 1: (T,) float64 in [0, 1)."""
    return np.arange(math.ceil(1 / step), dtype=np.float64) * step


def _checked(boxes: npt.ArrayLike) -> Ints:
    array = np.asarray(boxes, dtype=np.int64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes are an (n, 4) array, got shape {array.shape}")
    if (array[:, :2] < 0).any() or (array[:, 2:] < array[:, :2]).any():
        raise ValueError("boxes must have 0 <= x0 <= x1 and 0 <= y0 <= y1")
    return array


def _areas(boxes: Ints) -> Ints:
    areas: Ints = (boxes[..., 2:] - boxes[..., :2] + 1).prod(-1)
    return areas


@compiled
def _best_iou(boxes: Any, truth: Any, levels: Any) -> Any:
    best = np.zeros(levels)
    for row in range(len(boxes)):
        first, last, x0, y0, x1, y1 = boxes[row]
        overlap = 0.0
        for true in range(len(truth)):
            u0, v0, u1, v1 = truth[true]
            shared = max(0, min(x1, u1) - max(x0, u0) + 1) * max(0, min(y1, v1) - max(y0, v0) + 1)
            either = (x1 - x0 + 1) * (y1 - y0 + 1) + (u1 - u0 + 1) * (v1 - v0 + 1) - shared
            overlap = max(overlap, shared / either)
        for level in range(first, last + 1):
            best[level] = max(best[level], overlap)
    return best
