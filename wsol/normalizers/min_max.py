"""Min-max normalisation.

Idea: the smallest value of a map becomes 0 and the largest 1.
Paper: "Evaluating Weakly Supervised Object Localization Methods Right" (Choe et al., CVPR 2020).
Kept from the released code: the minimum is subtracted first, and the map is divided by its *new* maximum, so both ends
are exact.
Not kept: a map with an infinity ended the run; here it becomes zeros, as a map with NaN does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from wsol.normalizers._shared import ratio, without_broken
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["min_max"] = "min_max"


def build(config: Config) -> Callable[[Tensor], Tensor]:
    """The normaliser: a function from maps (B, H, W) to maps in [0, 1]."""
    return min_max


def min_max(maps: Tensor) -> Tensor:
    """Scale every map to [0, 1] on its own.

    Args:
        maps: (B, H, W) floats of any scale; not changed.

    Returns:
        (B, H, W), same type. A constant map and a map with a value that is not finite become zeros, with zero gradient.
    """
    usable = without_broken(maps)
    shifted = usable - usable.amin((1, 2), keepdim=True)
    return ratio(shifted, shifted.amax((1, 2), keepdim=True))
