"""Objects by their share of the image: ten bins, ten percent of the side length each, and three groups of them.

The bins are those of "Small object matters in weakly supervised object localization" (Hwang et al., Neurocomputing
2025). The paper does not say which bins are small, medium and large: small is inferred from its data set of small
birds, and the border between medium and large is our choice.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from wsol.ops.boxes import Ints
from wsol.schema import PluginConfig

EDGES = (0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100)
"""Edges of the bins in percent of the image's area; a bin is [lower, upper)."""

BINS = tuple(f"{low}_{high}" for low, high in pairwise(EDGES))

GroupEdge = Literal[1, 4, 9, 16, 25, 36, 49, 64, 81]


class SizeConfig(PluginConfig):
    """Settings.

    Attributes:
        small_below: objects below this percentage of the image's area are small.
        large_from: objects from this percentage of the image's area on are large.
    """

    small_below: GroupEdge = 4
    large_from: GroupEdge = 36

    @model_validator(mode="after")
    def _ordered(self) -> SizeConfig:
        if self.small_below >= self.large_from:
            raise ValueError(f"small_below ({self.small_below}) must be less than large_from ({self.large_from})")
        return self

    def groups(self) -> dict[str, slice]:
        """Group -> its bins."""
        first, last = EDGES.index(self.small_below), EDGES.index(self.large_from)
        return {"small": slice(0, first), "medium": slice(first, last), "large": slice(last, len(BINS))}


def size_bins(areas: npt.ArrayLike, image_area: int) -> Ints:
    """The bin in [0, 10) of every area (n,), in pixels; an object as large as the image is in the last one."""
    bins: Ints = np.searchsorted(np.array(EDGES[1:-1]) * image_area, np.asarray(areas, np.int64) * 100, side="right")
    return bins


def summary(name: str, total: float, bins: dict[str, float], groups: dict[str, float]) -> dict[str, float]:
    """The values that a metric by size reports: the mean over bins as headline, the value over all objects, the groups
    and the bins."""
    mean = {name: sum(bins.values()) / len(bins), f"{name}/total": total}
    return {
        **mean,
        **{f"{name}/{group}": value for group, value in groups.items()},
        **{f"{name}/size_{b}": value for b, value in bins.items()},
    }
