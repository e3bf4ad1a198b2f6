"""Chooses which images the report shows: hits, misses, the smallest objects, and images on which the views disagree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

PER_TAB = 12


ALL_SIZES = 6
"""Images from small to large objects."""


HIT = 0.5
"""IoU from which on a region counts as right."""


def choose_images(overlaps: Sequence[Sequence[float]], sizes: Sequence[float]) -> dict[str, list[int]]:
    """Choose the images of each tab.

    Args:
        overlaps: IoU of every image in every view, the winner first.
        sizes: area of each object, in percent of the image.

    Returns:
        `hits` and `misses`, evenly from the best to the worst; `small`, the smallest objects; `disagreements`, the
        images on which the views differ most (only with several views); `sizes`, a few images from the smallest object
        to the largest, the same in every run on these images. Tabs without images are left out.
    """
    values = np.array(overlaps)
    by_size = [int(place) for place in np.argsort(sizes, kind="stable")]
    ranked = [int(place) for place in np.argsort(-values[0], kind="stable")]
    spread = values.max(0) - values.min(0)
    tabs = {
        "hits": _evenly([place for place in ranked if values[0, place] >= HIT]),
        "misses": _evenly([place for place in ranked if values[0, place] < HIT]),
        "small": by_size[:PER_TAB],
        "disagreements": [int(place) for place in np.argsort(-spread, kind="stable")[:PER_TAB] if spread[place] > 0],
        "sizes": _evenly(by_size, ALL_SIZES),
    }
    return {name: chosen for name, chosen in tabs.items() if chosen}


def take_in_turn(lists: Sequence[Sequence[int]]) -> list[int]:
    """The first of each list, then the second of each, and so on, each number once, so that the beginning of the result
    has something from every list."""
    return list(dict.fromkeys(number for row in zip_longest(*lists) for number in row if number is not None))


def _evenly(ranked: Sequence[int], count: int = PER_TAB) -> list[int]:
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int).tolist()
    return [ranked[place] for place in places]
