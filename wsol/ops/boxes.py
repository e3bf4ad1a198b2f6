"""Boxes: coordinates, overlap, and the boxes that a score map predicts at every threshold.

All boxes are inclusive corners (x0, y0, x1, y1) in pixels. The rules are those of "Evaluating Weakly Supervised Object
Localization Methods Right" (Choe et al., CVPR 2020) and of its released evaluator, to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

try:
    import cv2
except ImportError as error:
    raise ImportError("OpenCV is missing: pip install opencv-python-headless") from error

Contours = Literal["all", "largest"]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEVELS = 255
"""A foreground is `8-bit map > level`, so levels are 0..254."""


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


@dataclass(frozen=True, slots=True)
class LevelBoxes:
    """The boxes of one score map at every level.

    Attributes:
        boxes: (n, 4) int64, boxes of all contours.
        first: (n,) int64, the lowest level at which a box exists.
        last: (n,) int64, the highest.
        largest: (255, 4) int64, the box of the contour with the largest polygon area, per level.
        peak: maximum of the 8-bit map.
    """

    boxes: Ints
    first: Ints
    last: Ints
    largest: Ints
    peak: int

    def at(self, level: int) -> Ints:
        """The boxes (m, 4) of all contours at a level, in no order; (0, 0, 0, 0) where there is no contour."""
        return self.boxes[(self.first <= level) & (level <= self.last)]


def boxes_by_level(score_map: Floats) -> LevelBoxes:
    """The boxes of a score map at all 255 levels.

    The map becomes 8-bit by truncation of 255 s. A level's foreground is what is strictly above it; each of its 8-connected
    components and each hole in one gives a contour, and each contour a box (x, y, x + w, y + h), clamped to the last pixel.

    Args:
        score_map: (H, W) in [0, 1].

    Raises:
        ValueError: the map has another rank, NaN, or values outside [0, 1].
    """
    pixels = quantise(score_map)
    edges = [0, *np.unique(pixels[(pixels > 0) & (pixels < LEVELS)]).tolist()]
    found = [_contour_boxes(pixels, low) for low in edges]
    counts = [len(boxes) for boxes, _ in found]
    lasts = [*(edge - 1 for edge in edges[1:]), LEVELS - 1]
    return LevelBoxes(
        boxes=np.concatenate([boxes for boxes, _ in found]),
        first=np.repeat(edges, counts),
        last=np.repeat(lasts, counts),
        largest=np.repeat([largest for _, largest in found], np.subtract(lasts, edges) + 1, axis=0),
        peak=int(pixels.max()),
    )


def quantise(score_map: Floats) -> npt.NDArray[np.uint8]:
    """The 8-bit map (H, W): 255 s, truncated. Raises ValueError for another rank, NaN, or values outside [0, 1]."""
    if score_map.ndim != 2 or score_map.size == 0:
        raise ValueError(f"a score map is a non-empty (H, W) array, got shape {score_map.shape}")
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise ValueError("a score map must lie in [0, 1] and have no NaN")
    return (score_map * 255).astype(np.uint8)


def best_iou(level_boxes: LevelBoxes, truth: npt.ArrayLike, contours: Contours = "all") -> Floats:
    """The best overlap of any predicted box with any true box, per level.

    Args:
        level_boxes: the boxes of one score map.
        truth: (n, 4) integers, n > 0, the true boxes on the grid of the map.
        contours: `all` contours predict a box, or only the `largest`.

    Returns:
        (255,) float64 in [0, 1].
    """
    if contours == "largest":
        largest: Floats = iou(level_boxes.largest, truth).max(1)
        return largest
    best = np.zeros(LEVELS)
    for value, first, last in zip(iou(level_boxes.boxes, truth).max(1), level_boxes.first, level_boxes.last, strict=True):
        np.maximum(best[first : last + 1], value, out=best[first : last + 1])
    return best


def threshold_levels(step: float, peak: int = 255) -> Ints:
    """The level of every threshold 0, step, 2 step, ... < 1.

    Args:
        step: in (0, 1).
        peak: maximum of the 8-bit map; 255 for every normalised map, 0 for zeros.

    Returns:
        (T,) int64 in [0, 254], T = ceil(1 / step): the threshold times the peak, truncated.
    """
    levels: Ints = (threshold_values(step) * peak).astype(np.int64)
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


def _contour_boxes(pixels: npt.NDArray[np.uint8], level: int) -> tuple[Ints, Ints]:
    _, binary = cv2.threshold(pixels, level, 1, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4), np.int64), np.zeros(4, np.int64)
    boxes = np.array([_clamped(contour, pixels.shape) for contour in contours], np.int64)
    return boxes, boxes[int(np.argmax([cv2.contourArea(contour) for contour in contours]))]


def _clamped(contour: Any, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(contour)
    return x, y, min(x + width, shape[1] - 1), min(y + height, shape[0] - 1)
