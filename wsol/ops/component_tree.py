"""The connected components of an 8-bit map at all its levels, and the holes in them, found in one pass each.

Water rises over the map as over a landscape. A lake is a connected set of pixels at or below the water. It lives from the level of
its lowest pixel until it overflows into a lower lake's basin, and every level at which it grows gives it another box. The water is
followed pixel by pixel, always at the lowest open pixel and at once deeper where a neighbour is lower; lakes that are not full yet
wait on a stack. So every pixel is entered once, and all levels together cost little more than reading the map ("Linear Time Maximally
Stable Extremal Regions", Nistér and Stewénius, ECCV 2008, without the stability).

Components of `map > level` are the lakes of the inverted map. Holes are the lakes of the map itself that cannot flow off its border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

try:
    from numba import njit
except ImportError as error:
    raise ImportError("Numba is missing: pip install numba") from error

Pixels = npt.NDArray[np.uint8]
Regions = npt.NDArray[np.int32]
Function = TypeVar("Function", bound=Callable[..., Any])

BORN, FULL, LEFT, TOP, RIGHT, BOTTOM, AREA, ANCHOR = range(8)
"""Columns of regions. First and last level; the box, inclusive pixels; twice the area of the polygon through the border pixels'
centres, for a region without holes; a number that grows with the region's first pixel in raster order."""

_LEVEL, _LEFT, _RIGHT, _FIRST, _LAST, _AREA, _MEMBERS = range(7)
"""Columns of lakes on the stack. Water level; first and last column; first and last pixel; see above; how many pixels were done before."""

_DONE = np.uint16(256)
_ONE = np.uint64(1)


def compiled(function: Function) -> Function:
    """Machine code from the first call on, kept on disk for later processes; runs without the GIL."""
    return cast(Function, njit(nogil=True, cache=True)(function))


def components(pixels: Pixels) -> Regions:
    """The 8-connected components of `pixels > level` for every level 0..254.

    Args:
        pixels: (H, W) uint8.

    Returns:
        (n, 8) int32, columns as above. A component whose box or area changes with the level has a row for each stretch of levels.
    """
    regions, _ = _flood(np.ascontiguousarray(255 - pixels), _steps(pixels, 8), False)
    regions[:, [BORN, FULL]] = 254 - regions[:, [FULL, BORN]]
    return cast(Regions, regions)


def holes(pixels: Pixels) -> tuple[Regions, Pixels]:
    """The 4-connected components of `pixels <= level` that do not reach the border, for every level 0..254.

    Args:
        pixels: (H, W) uint8.

    Returns:
        regions: (n, 8) int32, as `components` gives them.
        filled: (H, W) uint8, the map with all holes filled at all levels: `filled > level` is `pixels > level` without its holes.
    """
    regions, filled = _flood(np.ascontiguousarray(pixels), _steps(pixels, 4), True)
    return regions, np.ascontiguousarray(filled.reshape(pixels.shape[0] + 2, -1)[1:-1, 1:-1])


def _steps(pixels: Pixels, neighbours: int) -> npt.NDArray[np.uint64]:
    """Distances to the neighbours in the flat padded map. Unsigned, with wrap-around: Numba would test signed indices for being negative."""
    stride = pixels.shape[1] + 2
    steps = (1, -1, stride, -stride, stride + 1, stride - 1, 1 - stride, -1 - stride)
    return np.array(steps[:neighbours], np.int64).view(np.uint64)


@compiled
def _flood(pixels: Any, steps: Any, framed: Any) -> Any:
    """Follow the water. `framed`: the bottom lake lies around the map, below everything, and is not reported."""
    surface, starts = _landscape(pixels)
    stride = np.uint64(pixels.shape[1] + 2)
    ends, heap = starts.copy(), np.empty(pixels.size, np.uint32)
    order, filled = np.empty(pixels.size, np.uint32), surface.astype(np.uint8)
    quads = np.zeros(surface.size, np.uint8)
    lakes, regions = np.empty((257, 7), np.int32), np.empty((pixels.size, 8), np.int32)
    level = _first_shore(surface, pixels.shape, framed, heap, ends)
    top, found = 0, 0
    _open_lake(lakes, 0, level, 0)
    for done in range(pixels.size):
        while ends[level] == starts[level]:
            level += _ONE
        if lakes[top, _LEVEL] < level:
            top, found = _rise(lakes, top, level, regions, found, framed, stride, filled, order, done)
        ends[level] -= _ONE
        pixel, level, top = _follow(np.uint64(heap[ends[level]]), level, top, surface, steps, heap, ends, lakes, done)
        _add_pixel(lakes, top, pixel, stride)
        if framed:
            order[done] = pixel
        else:
            lakes[top, _AREA] += _half_squares(quads, pixel, stride)
    _, found = _rise(lakes, top, np.uint64(255), regions, found, framed, stride, filled, order, pixels.size)
    return regions[:found], filled


@compiled
def _landscape(pixels: Any) -> Any:
    """The map with a border that counts as done, flat; and where each level's open pixels start in the heap (257,)."""
    height, width = pixels.shape
    surface, starts = np.full((height + 2, width + 2), _DONE, np.uint16), np.zeros(257, np.uint64)
    for y in range(height):
        for x in range(width):
            surface[y + 1, x + 1] = pixels[y, x]
            starts[np.uint64(pixels[y, x]) + _ONE] += _ONE
    return surface.reshape(-1), np.cumsum(starts).astype(np.uint64)


@compiled
def _first_shore(surface: Any, shape: Any, framed: Any, heap: Any, ends: Any) -> Any:
    """Open the pixels the water comes from, the border or any one pixel; its first level."""
    height, width = shape
    level = np.uint64(0) if framed else np.uint64(surface[width + 3])
    for y in range(1, height + 1 if framed else 2):
        inner = 1 < y < height
        for x in range(1, width + 1 if framed else 2, max(1, width - 1) if inner else 1):
            pixel = np.uint64(y * (width + 2) + x)
            _push(heap, ends, np.uint64(surface[pixel]), pixel)
            surface[pixel] = _DONE
    return level


@compiled
def _push(heap: Any, ends: Any, level: Any, pixel: Any) -> None:
    heap[ends[level]] = pixel
    ends[level] += _ONE


@compiled
def _follow(pixel: Any, level: Any, top: Any, surface: Any, steps: Any, heap: Any, ends: Any, lakes: Any, done: Any) -> Any:
    """Open all neighbours of a pixel. At a lower one start a new lake and go on from there, until there is none."""
    step = 0
    while step < steps.size:
        other = pixel + steps[step]
        height = np.uint64(surface[other])
        step += 1
        if height == _DONE:
            continue
        surface[other] = _DONE
        if height >= level:
            _push(heap, ends, height, other)
            continue
        _push(heap, ends, level, pixel)
        pixel, level, top, step = other, height, top + 1, 0
        _open_lake(lakes, top, level, done)
    return pixel, level, top


@compiled
def _open_lake(lakes: Any, top: Any, level: Any, done: Any) -> None:
    lakes[top, _LEVEL], lakes[top, _MEMBERS], lakes[top, _AREA] = level, done, 0
    lakes[top, _LEFT] = lakes[top, _FIRST] = 2**31 - 1
    lakes[top, _RIGHT] = lakes[top, _LAST] = -1


@compiled
def _add_pixel(lakes: Any, top: Any, pixel: Any, stride: Any) -> None:
    column, place = np.int32(pixel % stride), np.int32(pixel)
    lakes[top, _LEFT], lakes[top, _RIGHT] = min(lakes[top, _LEFT], column), max(lakes[top, _RIGHT], column)
    lakes[top, _FIRST], lakes[top, _LAST] = min(lakes[top, _FIRST], place), max(lakes[top, _LAST], place)


@compiled
def _half_squares(quads: Any, pixel: Any, stride: Any) -> Any:
    """What a pixel adds to twice the polygon's area: a square of four pixels counts half with its third pixel and whole with its last."""
    halves = np.int32(0)
    for quad in (pixel, pixel - _ONE, pixel - stride, pixel - stride - _ONE):
        quads[quad] += np.uint8(1)
        halves += np.int32(quads[quad] > 2)
    return halves


@compiled
def _rise(lakes: Any, top: Any, level: Any, regions: Any, found: Any, framed: Any, stride: Any, filled: Any, order: Any, done: Any) -> Any:
    """Let the top lake rise to a level, over the brims of those below it. Returns the new top and the number of regions."""
    while lakes[top, _LEVEL] < level:
        lake, brim = lakes[top], np.int32(level)
        if top > 0:
            brim = min(brim, lakes[top - 1, _LEVEL])
        if top > 0 or not framed:
            _report(lake, brim, stride, regions[found])
            found += 1
        if top > 0 and brim == lakes[top - 1, _LEVEL]:
            top -= 1
            _merge(lakes[top], lake)
            if framed and top == 0:
                for i in range(lake[_MEMBERS], done):
                    filled[order[i]] = brim
        lakes[top, _LEVEL] = brim
    return top, found


@compiled
def _report(lake: Any, brim: Any, stride: Any, region: Any) -> None:
    region[BORN], region[FULL] = lake[_LEVEL], brim - 1
    region[LEFT], region[RIGHT] = lake[_LEFT] - 1, lake[_RIGHT] - 1
    region[TOP], region[BOTTOM] = lake[_FIRST] // stride - 1, lake[_LAST] // stride - 1
    region[AREA], region[ANCHOR] = lake[_AREA], lake[_FIRST]


@compiled
def _merge(lake: Any, other: Any) -> None:
    lake[_LEFT], lake[_RIGHT] = min(lake[_LEFT], other[_LEFT]), max(lake[_RIGHT], other[_RIGHT])
    lake[_FIRST], lake[_LAST] = min(lake[_FIRST], other[_FIRST]), max(lake[_LAST], other[_LAST])
    lake[_AREA] += other[_AREA]
