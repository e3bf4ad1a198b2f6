"""Which pixels of a landscape drain into the sea: the cheap first look before the water is followed pixel by pixel.

A pixel drains if some path leads from it to the sea that never rises above the pixel. Most pixels of a smooth map do, along a straight
line with at most one turn, and straight lines are a few array operations per row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsol.ops.compiled import compiled

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def barriers(surface: Pixels, land: Pixels, diagonal: bool) -> Pixels:
    """How high water must rise at most to flow from a pixel into the sea.

    Args:
        surface: (H, W) uint8, heights.
        land: (H, W) uint8, 0 on pixels from which water leaves into the sea, 255 elsewhere.
        diagonal: water flows to all 8 neighbours, not only to 4.

    Returns:
        (H, W) uint8, never below the exact height, and never below the surface. Where it equals the surface, the pixel drains.
    """
    bound = np.maximum(surface, land)
    _sweep(bound, surface, diagonal)
    turned = bound.T.copy()
    _sweep(turned, surface.T.copy(), diagonal)
    return turned.T.copy()


def dilated(mask: Mask, diagonal: bool) -> Mask:
    """The pixels of a mask (H, W) and their 4 or 8 neighbours."""
    wide, tall = mask.copy(), mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    source = wide if diagonal else mask
    tall[1:] |= source[:-1]
    tall[:-1] |= source[1:]
    return tall | wide


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
