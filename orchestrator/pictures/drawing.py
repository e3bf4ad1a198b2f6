"""Draws the pictures of the report: a photo with its ground truth, and the score map over it with the prediction, as
boxes or as outlines of masks.

The ground truth is solid and green, a predicted box is dashed and white, and the outline of a predicted mask is white.
They can be told apart with every kind of colour vision, on paper, and on the black-red-yellow colours of the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsol.opencv import cv2

MIN_SIDE = 192
"""Smallest side of a picture in pixels; smaller images are enlarged."""


MIN_SHORT_SIDE = 16
"""Smallest length, in pixels, of the shorter side of a picture in the shape of its photo, so that a box fits."""


TRUE_COLOR = (64, 224, 96)


PREDICTED_COLOR = (255, 255, 255)


HALO_COLOR = (16, 16, 16)


DASH = 7
"""Length in pixels of a dash of a predicted box, and of the gap after it."""


MAP_SHARE = 0.8
"""Opacity of the map over the photo at the highest score, in [0, 1]."""


PHOTO_DIMMING = 0.75


JPEG_QUALITY = 82


NO_BOXES = np.empty((0, 4))


Point = tuple[int, int]


def photo_with_boxes(image: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
    """The photo with its true boxes.

    Args:
        image: (S, S, 3) uint8 RGB.
        gt_boxes: (n, 4) inclusive corners x0 y0 x1 y1 in pixels of `image`, n may be 0; or a mask (S, S) bool.

    Returns:
        (S', S', 3) uint8 RGB, where S' is S, or for small images the first multiple of S that is at least 192.
    """
    picture = _enlarge(image)
    _draw_truth(picture, gt_boxes, picture.shape[0] // image.shape[0])
    return picture


def map_overlay(
    image: np.ndarray, score_map: np.ndarray, predicted_box: np.ndarray | None, gt_boxes: np.ndarray
) -> np.ndarray:
    """The score map over a grey photo, more opaque where the score is higher, with the true boxes and the predicted
    one.

    Args:
        image: (S, S, 3) uint8 RGB.
        score_map: (S, S) floating point in [0, 1]; values outside are clipped, non-finite ones count as 0.
        predicted_box: (4,) inclusive corners x0 y0 x1 y1 in pixels of `image`, or a mask (S, S) bool; None where
            nothing was predicted.
        gt_boxes: (n, 4), as `predicted_box`, n may be 0; or a mask (S, S) bool.

    Returns:
        (S', S', 3) uint8 RGB, as large as the picture of `photo_with_boxes`.
    """
    photo = _enlarge(image)
    side = photo.shape[0]
    scores = np.clip(np.nan_to_num(score_map.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)
    picture = _blend(photo, cv2.resize(scores, (photo.shape[1], side), interpolation=cv2.INTER_LINEAR))
    scale = side // image.shape[0]
    _draw_truth(picture, gt_boxes, scale)
    if predicted_box is not None and predicted_box.dtype == bool:
        _draw_outline(picture, predicted_box, PREDICTED_COLOR)
    elif predicted_box is not None:
        _draw_box(picture, _corners(predicted_box, scale), PREDICTED_COLOR, DASH)
    return picture


def prediction_overlay(
    image: np.ndarray, size: tuple[int, int], score_map: np.ndarray, grid_boxes: np.ndarray
) -> np.ndarray:
    """The score map over a grey photo, more opaque where the score is higher, with the predicted boxes. The picture has
    the shape of the photo, although the network saw a square.

    Args:
        image: (S, S, 3) uint8 RGB, the photo as the network saw it.
        size: width and height of the photo in pixels, which decide the shape of the picture.
        score_map: (S, S) float64 in [0, 1].
        grid_boxes: (n, 4) inclusive corners x0 y0 x1 y1 in pixels of `image`.

    Returns:
        (H, W, 3) uint8 RGB, whose longer side is S, at least 192; the shorter one at least 16.
    """
    side, longest = max(len(image), MIN_SIDE), max(size)
    width, height = (max(MIN_SHORT_SIDE, round(side * length / longest)) for length in size)
    photo = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    picture = _blend(photo, cv2.resize(score_map, (width, height), interpolation=cv2.INTER_LINEAR))
    scale = np.tile((width, height), 2) / len(image)
    for x0, y0, x1, y1 in ((grid_boxes + np.array([0, 0, 1, 1])) * scale).round().astype(int).tolist():
        _draw_box(picture, (x0, y0, x1 - 1, y1 - 1), PREDICTED_COLOR, DASH)
    return picture


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """An image (S, S) or (S, S, 3) uint8, shrunk if it is larger than `side`."""
    if image.shape[0] <= side:
        return image
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))


def shrunk_region(region: np.ndarray, side: int, largest: int) -> np.ndarray:
    """A mask (S, S) bool, or corners (..., 4) of boxes, on an image of S = `side` pixels, scaled with the image if it
    is shrunk to `largest`."""
    if region.dtype == bool:
        return shrunk(region.astype(np.uint8) * 255, largest) > 127
    return region * min(1.0, largest / side)


def encoded(picture: np.ndarray) -> bytes:
    """An RGB picture (H, W, 3) uint8 as JPEG, the same bytes for the same picture."""
    _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(jpeg.tobytes())


def encoded_png(picture: np.ndarray) -> bytes:
    """An RGB picture (H, W, 3) uint8 as PNG, packed fast rather than small."""
    _, png = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return bytes(png.tobytes())


def save_jpeg(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture (H, W, 3) uint8 into an existing folder. Raises OSError if it cannot be written."""
    path.write_bytes(encoded(picture))


def _enlarge(image: np.ndarray) -> np.ndarray:
    """A copy, enlarged by an integer factor, so that box edges stay on pixel edges."""
    scale = -(-MIN_SIDE // min(image.shape[:2])) if min(image.shape[:2]) < MIN_SIDE else 1
    if scale == 1:
        return np.ascontiguousarray(image).copy()
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))


def _blend(photo: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Blend the map over the photo. The colour map inferno grows brighter with the score, also for colour-blind
    readers; the photo is grey, so that all colour belongs to the map."""
    colors = cv2.applyColorMap((scores * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[:, :, None] * PHOTO_DIMMING
    share = MAP_SHARE * scores[:, :, None]
    return np.ascontiguousarray(np.rint(grey * (1 - share) + colors * share).astype(np.uint8))


def _draw_truth(picture: np.ndarray, truth: np.ndarray, scale: int) -> None:
    if truth.dtype == bool:
        _draw_outline(picture, truth, TRUE_COLOR)
        return
    for box in truth.reshape(-1, 4):
        _draw_box(picture, _corners(box, scale), TRUE_COLOR, dash=0)


def _draw_outline(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> None:
    """Draw the border of a mask, which is enlarged like its picture, with a dark border around it."""
    large = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, HALO_COLOR, 4)
    cv2.drawContours(picture, outlines, -1, color, 2)


def _corners(box: np.ndarray, scale: int) -> tuple[int, int, int, int]:
    """Inclusive corners after enlarging: the last pixel of an edge becomes `scale` pixels, and the box ends on the last
    of them."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    return x0 * scale, y0 * scale, (x1 + 1) * scale - 1, (y1 + 1) * scale - 1


def _draw_box(picture: np.ndarray, corners: tuple[int, int, int, int], color: tuple[int, int, int], dash: int) -> None:
    """Draw a box: a line two pixels wide inside a dark one of four pixels, moved inwards so that a box around the whole
    image is fully visible."""
    height, width = picture.shape[:2]
    x0, x1 = np.clip((corners[0], corners[2]), 2, width - 3)
    y0, y1 = np.clip((corners[1], corners[3]), 2, height - 3)
    cv2.rectangle(picture, (int(x0), int(y0)), (int(x1), int(y1)), HALO_COLOR, 4)
    for start, end in _strokes(int(x0), int(y0), int(x1), int(y1), dash):
        cv2.line(picture, start, end, color, 2)


def _strokes(x0: int, y0: int, x1: int, y1: int, dash: int) -> Iterator[tuple[Point, Point]]:
    """The four sides of a box, cut into dashes of `dash` pixels and equal gaps; solid if `dash` is 0."""
    for x, stop in _pieces(x0, x1, dash):
        yield (x, y0), (stop, y0)
        yield (x, y1), (stop, y1)
    for y, stop in _pieces(y0, y1, dash):
        yield (x0, y), (x0, stop)
        yield (x1, y), (x1, stop)


def _pieces(first: int, last: int, dash: int) -> Iterator[tuple[int, int]]:
    if dash == 0:
        yield first, last
        return
    for start in range(first, last + 1, 2 * dash):
        yield start, min(start + dash - 1, last)
