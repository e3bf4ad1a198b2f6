"""Division by the maximum.

Idea: zero stays zero, the largest value becomes 1, and negative evidence counts as zero: max(0, s) / max s.
Paper: "Normalization Matters in Weakly Supervised Object Localization" (Kim et al., ICCV 2021), where it is called Max;
it implements the older rule "a fraction of the maximum" of "Learning Deep Features for Discriminative Localization"
(Zhou et al., CVPR 2016). Symbols: s -> maps.
Not kept: a map whose maximum is not positive gave NaN; here it becomes zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from wsol.normalizers._shared import ratio, without_broken
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["max"] = "max"


def build(config: Config) -> Callable[[Tensor], Tensor]:
    """The normaliser: a function from maps (B, H, W) to maps in [0, 1]."""
    return divide_by_max


def divide_by_max(maps: Tensor) -> Tensor:
    """Scale every map to [0, 1] on its own.

    Args:
        maps: (B, H, W) floats of any scale; not changed.

    Returns:
        (B, H, W), same type. Constant maps, maps with a value that is not finite and maps without a positive value
        become zeros, with zero gradient.
    """
    positive = without_broken(maps).clamp(min=0)
    return ratio(positive, positive.amax((1, 2), keepdim=True))
