"""The connected components of an 8-bit map at all its levels, and the holes in them, found in one pass each.

Water rises over the map as over a landscape in a sea. A lake is a connected set of pixels at or below the water that is
cut off from the sea. It lives from the level of its lowest pixel until it overflows into the sea or into a lower lake's
basin, and every level at which it grows gives it another box. The water is followed pixel by pixel, always at the
lowest open pixel and at once deeper where a neighbour is lower; lakes that are not full yet wait on a stack, at whose
bottom is the sea. So every pixel is entered once, and all levels together cost little more than reading the map
("Linear Time Maximally Stable Extremal Regions", Nistér and Stewénius, ECCV 2008, without the stability). Pixels that
certainly drain into the sea are in no lake: they are found first, by a cheap test, and left out.

Holes are the lakes of the map in a sea around it. Components of `map > level` are the lakes of the inverted map, in a
sea that comes up at the map's highest peak; what is below that sea is one more component.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wsol.ops.compiled import compiled

LEVELS = 255
"""A foreground is `8-bit map > level`, so levels are 0..254."""

BORN, FULL, LEFT, TOP, RIGHT, BOTTOM, AREA, ANCHOR = range(8)
"""Columns of regions. First and last level; the box, inclusive pixels; twice the area of the polygon through the border
pixels' centres, for a component without holes; a number that grows with the region's first pixel in raster order."""

_LEVEL, _LEFT, _RIGHT, _FIRST, _LAST, _AREA, _MEMBERS = range(7)
"""Columns of lakes on the stack. Water level; first and last column; first and last pixel; see above; how many pixels
were done before."""

_DONE = np.uint16(256)
_ONE = np.uint64(1)


@compiled
def all_boxes(pixels: Any, holes: Any, peak: Any) -> Any:
    """First level, last level and box (n, 6) of all contours: those of components, those of `holes` (m, 6), and of
    nothing above the peak."""
    nothing = np.zeros((1 if peak < LEVELS else 0, 6), np.int64)
    nothing[:, 0], nothing[:, 1] = peak, LEVELS - 1
    return np.concatenate((_contour_boxes(components(pixels, False), 0, pixels.shape), holes, nothing))


@compiled
def hole_boxes(pixels: Any) -> Any:
    """First level, last level and box (n, 6) of the contours of holes, and the map without its holes."""
    regions, filled = holes(pixels)
    return _contour_boxes(regions, 1, pixels.shape), filled


@compiled
def largest_boxes(filled: Any) -> Any:
    """The box (255, 4) of the component with the largest area, per level of a map without holes; of nothing above the
    peak."""
    outlines = components(filled, True)
    boxes, winners, largest = (
        _contour_boxes(outlines, 0, filled.shape),
        _largest(outlines),
        np.zeros((LEVELS, 4), np.int64),
    )
    for level in range(LEVELS):
        if winners[level] >= 0:
            largest[level] = boxes[winners[level], 2:]
    return largest


@compiled
def components(pixels: Any, areas: Any) -> Any:
    """The 8-connected components of `pixels > level` for every level 0..254.

    Args:
        pixels: (H, W) uint8.
        areas: fill in the columns `AREA` and `ANCHOR`.

    Returns:
        (n, 8) int32, columns as above. A component that changes with the level has a row for each stretch of levels.
    """
    land, rows = np.full(pixels.shape, 255, np.uint8), _maxima(pixels)[0]
    top = rows.argmax()
    land[top, pixels[top].argmax()] = 0
    lakes, surface = _lakes(~pixels, land, 8)
    for row in range(len(lakes)):
        lakes[row, BORN], lakes[row, FULL] = 254 - lakes[row, FULL], 254 - lakes[row, BORN]
    return np.concatenate((lakes, _under_the_sea(~surface, areas)))


@compiled
def holes(pixels: Any) -> Any:
    """The 4-connected components of `pixels <= level` that do not reach the border, for every level 0..254.

    Args:
        pixels: (H, W) uint8.

    Returns:
        regions: (n, 8) int32, as `components` gives them, without areas.
        filled: (H, W) uint8, the map with all holes filled at all levels: `filled > level` is `pixels > level` without
            its holes.
    """
    land = np.zeros(pixels.shape, np.uint8)
    land[1:-1, 1:-1] = 255
    return _lakes(pixels, land, 4)


@compiled
def _contour_boxes(regions: Any, margin: Any, shape: Any) -> Any:
    """First level, last level and box (n, 6) of the contours at a distance of `margin` pixels around regions."""
    boxes = np.empty((len(regions), 6), np.int64)
    for row in range(len(regions)):
        boxes[row, 0], boxes[row, 1] = regions[row, BORN], regions[row, FULL]
        boxes[row, 2], boxes[row, 3] = regions[row, LEFT] - margin, regions[row, TOP] - margin
        boxes[row, 4] = min(regions[row, RIGHT] + margin + 1, shape[1] - 1)
        boxes[row, 5] = min(regions[row, BOTTOM] + margin + 1, shape[0] - 1)
    return boxes


@compiled
def _largest(outlines: Any) -> Any:
    """The row of the region with the largest area, per level; -1 where there is none."""
    winners = np.full(LEVELS, -1, np.int64)
    for row in range(len(outlines)):
        size = (outlines[row, AREA], outlines[row, ANCHOR])
        for level in range(outlines[row, BORN], outlines[row, FULL] + 1):
            best = winners[level]
            if best < 0 or size > (outlines[best, AREA], outlines[best, ANCHOR]):
                winners[level] = row
    return winners


@compiled
def _lakes(surface: Any, land: Any, neighbours: Any) -> Any:
    """All lakes, and the surface with all lakes filled to the brim at which they reach the sea."""
    stride = surface.shape[1] + 2
    steps = np.array((1, -1, stride, -stride, stride + 1, stride - 1, 1 - stride, -1 - stride))[:neighbours]
    unknown = barriers(surface, land, neighbours == 8) != surface
    # Unsigned steps, with wrap-around: Numba would test every signed index for being negative.
    regions, filled = _flood(surface, unknown, dilated(unknown, neighbours == 8), steps.astype(np.uint64))
    return regions, filled.reshape(-1, stride)[1:-1, 1:-1].copy()


@compiled
def _under_the_sea(pixels: Any, areas: Any) -> Any:
    """The component of the highest peak: `pixels > level`, connected at every level. One row per level."""
    height, width = pixels.shape
    rows, columns = _maxima(pixels)
    levels = np.int64(rows.max())  # as a byte it would be read as a signed length
    region = np.zeros((levels, 8), np.int32)
    top, left, bottom, right = 0, 0, height - 1, width - 1
    for level in range(levels):
        while rows[top] <= level:
            top += 1
        while columns[left] <= level:
            left += 1
        while rows[bottom] <= level:
            bottom -= 1
        while columns[right] <= level:
            right -= 1
        region[level, BORN], region[level, FULL] = level, level
        region[level, LEFT], region[level, TOP], region[level, RIGHT], region[level, BOTTOM] = left, top, right, bottom
    if areas:
        _measure(region, pixels)
    return region


@compiled
def _maxima(pixels: Any) -> Any:
    """The highest pixel of each row and of each column."""
    rows, columns = np.zeros(len(pixels), np.uint8), np.zeros(pixels.shape[1], np.uint8)
    for y in range(len(pixels)):
        highest = np.uint8(0)
        for x in range(len(columns)):  # two loops: machine code takes many pixels at once in each
            highest = max(highest, pixels[y, x])
        for x in range(len(columns)):
            columns[x] = max(columns[x], pixels[y, x])
        rows[y] = highest
    return rows, columns


@compiled
def _measure(region: Any, pixels: Any) -> None:
    """Fill in the areas and the first pixels in raster order of the component of every level."""
    halves = _areas(pixels)
    for level in range(len(region)):
        top, first = region[level, TOP], 0
        while pixels[top, first] <= level:
            first += 1
        region[level, ANCHOR] = (top + 1) * (pixels.shape[1] + 2) + first + 1
        region[level, AREA] = halves[level]


@compiled
def _areas(pixels: Any) -> Any:
    """Twice the polygon area of `pixels > level` without holes (256,): a square of four pixels counts once with three,
    twice with four."""
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
    """Follow the water over the pixels that may not drain, `unknown`, from the shore: the pixels `near` them that
    do."""
    surface, filled, counts, shore = _landscape(heights, unknown, near)
    heap, starts, ends = _heap(shore, filled, counts)
    stride, order, quads = (
        np.uint64(heights.shape[1] + 2),
        np.empty(heap.size, np.uint32),
        np.zeros(surface.size, np.uint8),
    )
    lakes, regions = np.empty((257, 7), np.int32), np.empty((heap.size, 8), np.int32)
    top, found, level = 0, 0, np.uint64(0)
    _open_lake(lakes, 0, level, 0)
    for done in range(heap.size):
        while ends[level] == starts[level]:
            level += _ONE
        if (
            lakes[top, _LEVEL] < level
        ):  # asked here too: the call alone, once for every pixel, would take most of the time
            top, found = _rise(lakes, top, level, regions, found, stride, filled, order, done)
        ends[level] -= _ONE
        pixel, level, top = _follow(np.uint64(heap[ends[level]]), level, top, surface, steps, heap, ends, lakes, done)
        _add_pixel(lakes, top, pixel, stride)
        lakes[top, _AREA] += _half_squares(quads, pixel, stride)
        order[done] = pixel
    return regions[:found], filled


@compiled
def _landscape(heights: Any, unknown: Any, near: Any) -> Any:
    """The flat map with a margin, `_DONE` where no water has to be followed; the plain one; how many pixels to follow;
    the shore."""
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
def _follow(
    pixel: Any, level: Any, top: Any, surface: Any, steps: Any, heap: Any, ends: Any, lakes: Any, done: Any
) -> Any:
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
    """The contribution of a pixel to twice the polygon's area: a square of four pixels counts half with its third pixel
    and whole with its last."""
    halves = np.int32(0)
    for quad in (pixel, pixel - _ONE, pixel - stride, pixel - stride - _ONE):
        quads[quad] += np.uint8(1)
        halves += np.int32(quads[quad] > 2)
    return halves


@compiled
def _rise(
    lakes: Any, top: Any, level: Any, regions: Any, found: Any, stride: Any, filled: Any, order: Any, done: Any
) -> Any:
    """Let the top lake rise to a level, over the brims of those below it. Returns the new top and the number of
    regions."""
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


# --- which pixels surely drain into the sea
# ------------------------------------------------------------------------------------------- Most pixels of a smooth
# map do, along a straight line with at most one turn, and straight lines are a few array operations per row.


@compiled
def barriers(surface: Any, land: Any, diagonal: Any) -> Any:
    """How high water must rise at most to flow from a pixel into the sea.

    Args:
        surface: (H, W) uint8, heights.
        land: (H, W) uint8, 0 on pixels from which water leaves into the sea, 255 elsewhere.
        diagonal: water flows to all 8 neighbours, not only to 4.

    Returns:
        (H, W) uint8, never below the exact height, and never below the surface. Where it equals the surface, the pixel
        drains.
    """
    bound = np.maximum(surface, land)
    _sweep(bound, surface, diagonal)
    turned = _turned(bound)
    _sweep(turned, _turned(surface), diagonal)
    return _turned(turned)


@compiled
def _turned(array: Any) -> Any:
    """The transpose (W, H) with its rows in memory; Numba's copy would leave the columns there."""
    height, width = array.shape
    turned = np.empty((width, height), array.dtype)
    for y in range(width):
        for x in range(height):
            turned[y, x] = array[x, y]
    return turned


@compiled
def dilated(mask: Any, diagonal: Any) -> Any:
    """The pixels of a mask (H, W) bool and their 4 or 8 neighbours."""
    wide = mask.copy()
    for y in range(len(mask)):
        _spread(wide[y, 1:], mask[y, :-1])
        _spread(wide[y, :-1], mask[y, 1:])
    source, tall = wide if diagonal else mask, wide.copy()
    for y in range(1, len(mask)):
        _spread(tall[y], source[y - 1])
        _spread(tall[y - 1], source[y])
    return tall


@compiled
def _spread(row: Any, beside: Any) -> None:
    for x in range(len(row)):
        row[x] |= beside[x]


@compiled
def _sweep(bound: Any, surface: Any, diagonal: Any) -> None:
    """Down and up: each row takes what its neighbour row allows."""
    for y in range(1, len(bound)):
        _step(bound[y], bound[y - 1], surface[y], diagonal)
    for y in range(len(bound) - 2, -1, -1):
        _step(bound[y], bound[y + 1], surface[y], diagonal)


@compiled
def _step(bound: Any, beside: Any, surface: Any, diagonal: Any) -> None:
    for x in range(len(bound)):
        bound[x] = max(surface[x], min(bound[x], beside[x]))
    if diagonal:
        for x in range(1, len(bound)):
            bound[x] = max(surface[x], min(bound[x], beside[x - 1]))
        for x in range(len(bound) - 1):
            bound[x] = max(surface[x], min(bound[x], beside[x + 1]))
