"""The pixels of an object that is given as outlines or as run lengths, as in the instances JSON of COCO.

Both to the pixel as COCO's own code (`rleFrPoly` and `rleFrString` of maskApi.c): outlines are walked on a grid five
times as fine, in whole steps, and every crossing of the middle of a column turns what is below it in or out. A
rectangle from 10 to 20 is ten pixels wide, like its box. Run lengths go down the columns, background first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Region = NDArray[np.bool_]

CODED, MORE, NEGATIVE, FIRST_CODE = 0x1F, 0x20, 0x10, 48
"""The bits of a letter of compressed run lengths: five bits of a number, whether more letters follow, and its sign."""
FINER = 5
FARTHEST = 1e5
"""Largest distance of a corner from the image, in pixels."""
MAX_LETTERS = 7
"""Largest number of letters for one number: 35 bits."""


def outline_region(outline: Sequence[float], height: int, width: int) -> Region:
    """(H, W): the pixels inside of a polygon, by the even-odd rule.

    Args:
        outline: x0, y0, x1, y1, ... in pixels, 0 0 being the upper left corner of the first pixel; an even number of
            finite values. It is clipped to the image; fewer than three corners contain no pixel.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """
    if len(outline) < 6:
        return np.zeros((height, width), np.bool_)
    corners = np.clip(np.asarray(outline, np.float64).reshape(-1, 2), -FARTHEST, FARTHEST)
    fine = np.trunc(FINER * corners + 0.5).astype(np.int64)
    u, v = np.concatenate([_walk(*pair) for pair in zip(fine, np.roll(fine, -1, axis=0), strict=True)], axis=1)
    moved = u[1:] != u[:-1]
    column = (np.minimum(u[1:], u[:-1])[moved] + 0.5) / FINER - 0.5
    row = np.ceil(np.clip((np.minimum(v[1:], v[:-1])[moved] + 0.5) / FINER - 0.5, 0, height))
    inside = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    turns = (column[inside] * height + row[inside]).astype(np.int64)
    turned = np.cumsum(np.bincount(turns, minlength=height * width + 1))[: height * width]
    region: Region = (turned % 2 == 1).reshape(width, height).T
    return region


def _walk(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, n): the points from one corner to the next, both included, one for each step of the longer side."""
    across, down = np.abs(end - start)
    longer = 0 if across >= down else 1
    steps = max(across, down)
    backwards = start[longer] > end[longer]
    first, last = (end, start) if backwards else (start, end)
    slope = (last - first)[1 - longer] / steps if steps else 0.0
    position = np.arange(steps + 1)
    points = np.empty((2, steps + 1), np.int64)
    points[longer] = first[longer] + position
    points[1 - longer] = np.trunc(first[1 - longer] + slope * position + 0.5)
    return points[:, ::-1] if backwards else points


def decode_letters(text: str) -> list[int]:
    """Compressed run lengths, as pycocotools writes them.

    Raises:
        ValueError: a letter is not part of the code, or the last number is cut off.
    """
    counts: list[int] = []
    value = letters = 0
    for letter in text.encode():
        bits = letter - FIRST_CODE
        if not 0 <= bits <= CODED | MORE or letters == MAX_LETTERS:
            raise ValueError(f"run lengths have {chr(letter)!r}, which is not of their code")
        value |= (bits & CODED) << 5 * letters
        letters += 1
        if bits & MORE:
            continue
        if bits & NEGATIVE:
            value -= 1 << 5 * letters
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = letters = 0
    if letters:
        raise ValueError("run lengths end within a number")
    return counts


def unroll(counts: Sequence[int], height: int, width: int) -> Region:
    """The region (H, W) from its run lengths.

    Raises:
        ValueError: a run is negative, or their sum is not the number of pixels of the image.
    """
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(f"run lengths have {sum(counts)} pixels, or negative runs, instead of {height} x {width}")
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(width, height).T.copy()
