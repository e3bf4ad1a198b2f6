"""The connected components of a map at all its levels, found in one pass.

The map is a landscape into which water rises. A lake is a connected set of pixels at or below the water; it lives from the level of
its lowest pixel until it overflows into another one, and every level at which it grows gives it a new box. The water is followed
pixel by pixel, always at the lowest open pixel, and deeper at once where a neighbour is lower. Lakes that are not full yet wait on a
stack, so each pixel is entered once, and the whole tree costs little more than reading the map ("Linear Time Maximally Stable
Extremal Regions", Nistér and Stewénius, ECCV 2008, without the stability).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Lakes = npt.NDArray[np.int64]

BORN, FULL, LEFT, TOP, RIGHT, BOTTOM, AREA, ANCHOR = range(8)
"""Columns of lakes: first and last water level with this box, the box (inclusive pixels), twice the polygon area."""

_LEVEL, _FIRST_COLUMN, _LAST_COLUMN, _FIRST_PIXEL, _LAST_PIXEL, _AREA, _MEMBERS = range(7)


def lakes(surface: npt.NDArray[np.uint8], neighbours: int, framed: bool = False) -> tuple[Lakes, npt.NDArray[np.uint8]]:
    """Every lake at every water level 0..254.

    Args:
        surface: (H, W) uint8, the landscape.
        neighbours: 4 or 8, what counts as connected.
        framed: the land around the map lies below everything: water that reaches the border flows away, and the lakes that remain
            are those closed on all sides.

    Returns:
        lakes: (n, 7) int64, see the columns above; a lake whose box or area changes with the level has several rows.
        filled: (H, W) uint8, the landscape with every closed lake filled to its brim; the landscape itself if not framed.
    """
    stride = surface.shape[1] + 2
    padded = np.pad(surface, 1)
    steps = (1, -1, stride, -stride, stride + 1, stride - 1, 1 - stride, -1 - stride)[:neighbours]
    rows = _flood(padded.reshape(-1), np.array(surface.shape), np.array(steps), framed)
    return rows, padded[1:-1, 1:-1]


@njit(nogil=True, cache=True)  # type: ignore[misc]
def _flood(surface: Any, shape: Any, steps: Any, framed: bool) -> Any:
    height, width = shape
    stride = width + 2
    column = np.empty(len(surface), np.int32)
    seen = np.ones(len(surface), np.uint8)
    first = np.zeros(257, np.int64)
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            p = y * stride + x
            seen[p] = 0
            column[p] = x - 1
            first[surface[p] + 1] += 1
    for v in range(256):
        first[v + 1] += first[v]
    last = first[:256].copy()
    heap = np.empty(height * width, np.int32)
    members = np.empty(height * width, np.int32)
    corners = np.zeros(len(surface), np.uint8)
    rows = np.empty((height * width + 1, 8), np.int64)
    count = 0
    done = 0
    stack = np.empty((258, 7), np.int64)
    top = 0
    if framed:
        level = -1
        for y in range(1, height + 1):
            for x in range(1, width + 1):
                if y == 1 or y == height or x == 1 or x == width:
                    p = y * stride + x
                    seen[p] = 1
                    v = surface[p]
                    heap[last[v]] = p
                    last[v] += 1
    else:
        p = stride + 1
        level = np.int64(surface[p])
        seen[p] = 1
        heap[last[level]] = p
        last[level] += 1
    _open(stack, top, level, done)
    here = max(level, 0)
    while True:
        while here < 256 and last[here] == first[here]:
            here += 1
        if here == 256:
            break
        last[here] -= 1
        p = heap[last[here]]
        if here > level:
            top, count = _rise(stack, top, here, rows, count, framed, members, done, surface, stride)
            level = here
        k = 0
        while k < len(steps):
            q = p + steps[k]
            k += 1
            if seen[q]:
                continue
            seen[q] = 1
            v = np.int64(surface[q])
            if v < level:
                heap[last[level]] = p
                last[level] += 1
                p = q
                level = v
                top += 1
                _open(stack, top, level, done)
                k = 0
            else:
                heap[last[v]] = q
                last[v] += 1
        here = level
        members[done] = p
        done += 1
        lake = stack[top]
        lake[_FIRST_COLUMN] = min(lake[_FIRST_COLUMN], column[p])
        lake[_LAST_COLUMN] = max(lake[_LAST_COLUMN], column[p])
        lake[_FIRST_PIXEL] = min(lake[_FIRST_PIXEL], p)
        lake[_LAST_PIXEL] = max(lake[_LAST_PIXEL], p)
        for c in (p, p - 1, p - stride, p - stride - 1):
            corners[c] += 1
            if corners[c] > 2:
                lake[_AREA] += 1
    top, count = _rise(stack, top, 255, rows, count, framed, members, done, surface, stride)
    return rows[:count]


@njit(nogil=True, cache=True)
def _open(stack, top, level, done):
    stack[top, _LEVEL] = level
    stack[top, _FIRST_COLUMN] = 1 << 40
    stack[top, _LAST_COLUMN] = -1
    stack[top, _FIRST_PIXEL] = 1 << 40
    stack[top, _LAST_PIXEL] = -1
    stack[top, _AREA] = 0
    stack[top, _MEMBERS] = done


@njit(nogil=True, cache=True)
def _rise(stack, top, level, rows, count, framed, members, done, surface, stride):
    while stack[top, _LEVEL] < level:
        lake = stack[top]
        brim = level
        if top > 0:
            brim = min(level, stack[top - 1, _LEVEL])
        if top > 0 or not framed:
            rows[count, BORN] = lake[_LEVEL]
            rows[count, FULL] = brim - 1
            rows[count, LEFT] = lake[_FIRST_COLUMN]
            rows[count, TOP] = lake[_FIRST_PIXEL] // stride - 1
            rows[count, RIGHT] = lake[_LAST_COLUMN]
            rows[count, BOTTOM] = lake[_LAST_PIXEL] // stride - 1
            rows[count, AREA] = lake[_AREA]
            rows[count, ANCHOR] = lake[_FIRST_PIXEL]
            count += 1
        if top > 0 and stack[top - 1, _LEVEL] == brim:
            under = stack[top - 1]
            under[_FIRST_COLUMN] = min(under[_FIRST_COLUMN], lake[_FIRST_COLUMN])
            under[_LAST_COLUMN] = max(under[_LAST_COLUMN], lake[_LAST_COLUMN])
            under[_FIRST_PIXEL] = min(under[_FIRST_PIXEL], lake[_FIRST_PIXEL])
            under[_LAST_PIXEL] = max(under[_LAST_PIXEL], lake[_LAST_PIXEL])
            under[_AREA] += lake[_AREA]
            top -= 1
            if framed and top == 0:
                for i in range(lake[_MEMBERS], done):
                    surface[members[i]] = brim
        else:
            lake[_LEVEL] = brim
    return top, count
