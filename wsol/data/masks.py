"""Brings the masks of one image to the evaluation grid, and makes the targets of methods that train on boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.data.decoding import Pixels, Side, Undecodable, mask_values, opened, size
from wsol.errors import InputError
from wsol.ops.boxes import resize_boxes
from wsol.types import Annotation

IGNORED = 255


def united(objects: list[Path], ignored: Path | None, grid: int, image: Path | None) -> Pixels:
    """The object and the ignored region of an image.

    Args:
        objects: mask files of the image's instances.
        ignored: mask file of the ignored region; None: there is none.
        grid: side in pixels of the evaluation grid.
        image: the image file, against which masks must not be turned; None: this is not checked.

    Returns:
        (grid, grid) uint8: the instances OR-ed are 1, the ignored region outside of them 255.

    Raises:
        InputError: a mask file cannot be read, or is turned against its image.
    """
    shape = None if image is None else displayed_size(image)
    mask = np.zeros((grid, grid), np.uint8)
    if ignored is not None:
        mask[_on_grid(ignored, grid, shape)] = IGNORED
    for path in objects:
        mask[_on_grid(path, grid, shape)] = 1
    return mask


def target(annotation: Annotation, side: int) -> Pixels:
    """What a method that trains on boxes is taught of an image: every pixel of a box is object, or, where there are
    masks only, every pixel of the mask.

    Args:
        annotation: of the image, its mask on a grid of this side.
        side: in pixels of the square that the image is resized to.

    Returns:
        (side, side) uint8, 1 object, 0 background, 255 ignored; the boxes are where evaluation has them on such a grid.
    """
    if len(annotation.boxes) == 0:
        return np.zeros((side, side), np.uint8) if annotation.mask is None else annotation.mask
    taught = np.zeros((side, side), np.uint8)
    for x0, y0, x1, y1 in resize_boxes(annotation.boxes, annotation.image_size, (side, side)).tolist():
        taught[y0 : y1 + 1, x0 : x1 + 1] = 1
    return taught


def has_object(values: NDArray[Any]) -> NDArray[np.bool_]:
    """(H, W): where a mask (H, W) or (H, W, 3) is above 0, in any channel."""
    above: NDArray[np.bool_] = values > 0
    return np.any(above, axis=2) if above.ndim == 3 else above


def displayed_size(image: Path) -> Side | None:
    """Width and height of an image as displayed; None if its file does not say, which decoding then reports."""
    try:
        with opened(image) as header:
            return size(header, displayed=True)
    except (FileNotFoundError, Undecodable):
        return None


def same_aspect(one: Side, other: Side) -> bool:
    """Whether one size can be the other in another resolution, with sides rounded to whole pixels."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(sum(one), sum(other))


def is_turned(mask: Side, image: Side) -> bool:
    """Whether a mask has the aspect of its image only if that is turned by 90 degrees."""
    return not same_aspect(mask, image) and same_aspect(mask, image[::-1])


def turned_problem(path: Path, mask: Side, image: Side) -> str:
    """What is wrong with a mask that is turned against its image."""
    return (
        f"{path}: has {mask[0]} x {mask[1]} pixels, its image {image[0]} x {image[1]} as displayed: the mask is turned;"
        " images are read with their EXIF orientation: annotate them as displayed, or remove the orientation"
    )


def nearest(side: int, grid: int) -> NDArray[np.int64]:
    """(grid,) source indices floor(d * side / grid), in OpenCV's order of operations.

    Where d * side / grid is an integer, its rounding takes the pixel before for some sides (1600 among them); the
    reference uses OpenCV.
    """
    indices: NDArray[np.int64] = np.floor(np.arange(grid) * (1 / (grid / side))).astype(np.int64)
    return np.minimum(indices, side - 1)


def _on_grid(path: Path, grid: int, image: Side | None) -> NDArray[np.bool_]:
    """A mask on the grid (grid, grid), by nearest neighbour; every value above 0 at the file's own depth is object."""
    try:
        values = mask_values(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such mask") from None
    except Undecodable as error:
        raise InputError(f"{path}: the mask cannot be decoded ({error}); replace the file") from None
    height, width = values.shape[:2]
    if image is not None and is_turned((width, height), image):
        raise InputError(turned_problem(path, (width, height), image))
    return has_object(values[nearest(height, grid)[:, None], nearest(width, grid)])
