"""The boxes of a score map found the slow way, one threshold at a time with OpenCV: what the fast way is checked
against."""

from __future__ import annotations

import cv2
import numpy as np

Box = tuple[int, int, int, int]


def boxes_at(pixels: np.ndarray, level: int) -> tuple[list[Box], Box]:
    """Boxes of all contours of an 8-bit map (H, W) above a level, sorted, and the box of the contour with the largest
    area."""
    _, binary = cv2.threshold(pixels, level, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0, 0, 0, 0)], (0, 0, 0, 0)
    boxes = [clamped(cv2.boundingRect(contour), pixels.shape) for contour in contours]
    return sorted(boxes), clamped(cv2.boundingRect(max(contours, key=cv2.contourArea)), pixels.shape)


def clamped(rectangle: tuple[int, int, int, int], shape: tuple[int, ...]) -> Box:
    """Corner beyond the last pixel, unless the map ends before."""
    x, y, width, height = rectangle
    return x, y, min(x + width, shape[1] - 1), min(y + height, shape[0] - 1)
