"""The connected components of an 8-bit map at all its levels, and the holes in them, found in one pass each.

Water rises over the map as over a landscape in a sea. A lake is a connected set of pixels at or below the water that is cut off from
the sea. It lives from the level of its lowest pixel until it overflows into the sea or into a lower lake's basin, and every level at
which it grows gives it another box. The water is followed pixel by pixel, always at the lowest open pixel and at once deeper where a
neighbour is lower; lakes that are not full yet wait on a stack, at whose bottom is the sea. So every pixel is entered once, and all
levels together cost little more than reading the map ("Linear Time Maximally Stable Extremal Regions", Nistér and Stewénius, ECCV 2008,
without the stability). Pixels that surely drain into the sea (`wsol/ops/drainage.py`) are in no lake and are left out.

Holes are the lakes of the map in a sea around it. Components of `map > level` are the lakes of the inverted map, in a sea that comes up
at the map's highest peak; what is below that sea is one more component.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsol.ops.compiled import compiled
from wsol.ops.drainage import Pixels, barriers, dilated

Regions = npt.NDArray[np.int32]

BORN, FULL, LEFT, TOP, RIGHT, BOTTOM, AREA, ANCHOR = range(8)
"""Columns of regions. First and last level; the box, inclusive pixels; twice the area of the polygon through the border pixels'
centres, for a component without holes; a number that grows with the region's first pixel in raster order."""

_LEVEL, _LEFT, _RIGHT, _FIRST, _LAST, _AREA, _MEMBERS = range(7)
"""Columns of lakes on the stack. Water level; first and last column; first and last pixel; see above; how many pixels were done before."""

_DONE = np.uint16(256)
_ONE = np.uint64(1)


def components(pixels: Pixels, areas: bool = False) -> Regions:
    """The 8-connected components of `pixels > level` for every level 0..254.

    Args:
        pixels: (H, W) uint8.
        areas: fill in the columns `AREA` and `ANCHOR`.

    Returns:
        (n, 8) int32, columns as above. A component that changes with the level has a row for each stretch of levels.
    """
    land = np.full(pixels.shape, 255, np.uint8)
    land.flat[pixels.argmax()] = 0
    lakes, surface = _lakes(~pixels, land, 8)
    lakes[:, [BORN, FULL]] = 254 - lakes[:, [FULL, BORN]]
    return np.concatenate([lakes, _under_the_sea(~surface, areas)])


def holes(pixels: Pixels) -> tuple[Regions, Pixels]:
    """The 4-connected components of `pixels <= level` that do not reach the border, for every level 0..254.

    Args:
        pixels: (H, W) uint8.

    Returns:
        regions: (n, 8) int32, as `components` gives them, without areas.
        filled: (H, W) uint8, the map with all holes filled at all levels: `filled > level` is `pixels > level` without its holes.
    """
    land = np.zeros(pixels.shape, np.uint8)
    land[1:-1, 1:-1] = 255
    return _lakes(pixels, land, 4)


def _lakes(surface: Pixels, land: Pixels, neighbours: int) -> tuple[Regions, Pixels]:
    """All lakes, and the surface with all lakes filled to the brim at which they reach the sea."""
    stride = surface.shape[1] + 2
    steps = np.array((1, -1, stride, -stride, stride + 1, stride - 1, 1 - stride, -1 - stride)[:neighbours])
    unknown = barriers(surface, land, neighbours == 8) != surface
    # Unsigned steps, with wrap-around: Numba would test every signed index for being negative.
    regions, filled = _flood(surface, unknown, dilated(unknown, neighbours == 8), steps.view(np.uint64))
    return regions, np.ascontiguousarray(filled.reshape(-1, stride)[1:-1, 1:-1])


def _under_the_sea(pixels: Pixels, areas: bool) -> Regions:
    """The component of the highest peak: `pixels > level`, connected at every level. One row per level."""
    levels = np.arange(pixels.max())
    rows, columns = pixels.max(1), pixels.max(0)
    region = np.empty((len(levels), 8), np.int32)
    region[:, BORN] = region[:, FULL] = levels
    region[:, TOP], region[:, LEFT] = _first_above(rows, levels), _first_above(columns, levels)
    region[:, BOTTOM] = len(rows) - 1 - _first_above(rows[::-1], levels)
    region[:, RIGHT] = len(columns) - 1 - _first_above(columns[::-1], levels)
    if areas:
        first_column = (pixels[region[:, TOP]] > levels[:, None]).argmax(1)
        region[:, ANCHOR] = (region[:, TOP] + 1) * (len(columns) + 2) + first_column + 1
        region[:, AREA] = _areas(pixels)[levels]
    return region


def _first_above(values: Pixels, levels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Index of the first value above each level."""
    return np.searchsorted(np.maximum.accumulate(values), levels, side="right")


@compiled
def _areas(pixels: Any) -> Any:
    """Twice the polygon area of `pixels > level` without holes (256,): a square of four pixels counts once with three, twice with four."""
    halves = np.zeros(256, np.int32)
    for y in range(1, len(pixels)):
        for x in range(1, pixels.shape[1]):
            a, b, c, d = pixels[y - 1, x - 1], pixels[y - 1, x], pixels[y, x - 1], pixels[y, x]
            low, high, low2, high2 = min(a, b), max(a, b), min(c, d), max(c, d)
            halves[min(low, low2)] += 1
            halves[min(max(low, low2), min(high, high2))] += 1
    total = np.zeros(256, np.int32)
    for level in range(254, -1, -1):
        total[level] = total[level + 1] + halves[level + 1]
    return total


@compiled
def _flood(heights: Any, unknown: Any, near: Any, steps: Any) -> Any:
    """Follow the water over the pixels that may not drain, `unknown`, from the shore: the pixels `near` them that do."""
    surface, filled, counts, shore = _landscape(heights, unknown, near)
    heap, starts, ends = _heap(shore, filled, counts)
    stride, order, quads = np.uint64(heights.shape[1] + 2), np.empty(heap.size, np.uint32), np.zeros(surface.size, np.uint8)
    lakes, regions = np.empty((257, 7), np.int32), np.empty((heap.size, 8), np.int32)
    top, found, level = 0, 0, np.uint64(0)
    _open_lake(lakes, 0, level, 0)
    for done in range(heap.size):
        while ends[level] == starts[level]:
            level += _ONE
        if lakes[top, _LEVEL] < level:  # asked here too: the call alone, once for every pixel, would take most of the time
            top, found = _rise(lakes, top, level, regions, found, stride, filled, order, done)
        ends[level] -= _ONE
        pixel, level, top = _follow(np.uint64(heap[ends[level]]), level, top, surface, steps, heap, ends, lakes, done)
        _add_pixel(lakes, top, pixel, stride)
        lakes[top, _AREA] += _half_squares(quads, pixel, stride)
        order[done] = pixel
    return regions[:found], filled


@compiled
def _landscape(heights: Any, unknown: Any, near: Any) -> Any:
    """The flat map with a margin, `_DONE` where no water has to be followed; the plain one; how many pixels to follow; the shore."""
    height, width = heights.shape
    surface, filled = np.full((height + 2, width + 2), _DONE, np.uint16), np.zeros((height + 2, width + 2), np.uint8)
    counts, shore, found = np.zeros(256, np.int64), np.empty(heights.size, np.uint32), 0
    for y in range(height):
        for x in range(width):
            filled[y + 1, x + 1] = heights[y, x]
            if unknown[y, x]:
                surface[y + 1, x + 1] = heights[y, x]
            elif near[y, x]:
                shore[found] = (y + 1) * (width + 2) + x + 1
                found += 1
            counts[heights[y, x]] += near[y, x]
    return surface.reshape(-1), filled.reshape(-1), counts, shore[:found]


@compiled
def _heap(shore: Any, filled: Any, counts: Any) -> Any:
    """The heap with the shore in it, and where the pixels of each level start and end."""
    ends = np.cumsum(counts).astype(np.uint64)
    heap = np.empty(ends[255], np.uint32)
    ends = ends - counts.astype(np.uint64)
    starts = ends.copy()
    for pixel in shore:
        _push(heap, ends, np.uint64(filled[pixel]), pixel)
    return heap, starts, ends


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
def _rise(lakes: Any, top: Any, level: Any, regions: Any, found: Any, stride: Any, filled: Any, order: Any, done: Any) -> Any:
    """Let the top lake rise to a level, over the brims of those below it. Returns the new top and the number of regions."""
    while lakes[top, _LEVEL] < level:
        lake, brim = lakes[top], np.int32(level)
        if top > 0:
            brim = min(brim, lakes[top - 1, _LEVEL])
            _report(lake, brim, stride, regions[found])
            found += 1
        if top > 0 and brim == lakes[top - 1, _LEVEL]:
            top -= 1
            _merge(lakes[top], lake)
            if top == 0:
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
