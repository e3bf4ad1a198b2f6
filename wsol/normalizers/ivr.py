"""IVR, infimum of value range.

Idea: the minimum of a map is one pixel's luck and far below the background, so a low percentile becomes 0, and what is
below it too: max(0, s - Per_p(s)) / max(s - Per_p(s)).
Paper: "Normalization Matters in Weakly Supervised Object Localization" (Kim et al., ICCV 2021).
Symbols: p -> lower_percentile (0 to 1); s -> maps.
Kept from the released code: Per_p is the value at index floor(p N) of the N sorted ones, without interpolation.
Not kept: a percentile equal to the maximum gave NaN; here the map becomes zeros. Inside CropCAM's training the released
code divided by the maximum of the unshifted map, so that no value became 1; here the formula is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import Field
from torch import Tensor

from wsol.normalizers._shared import order_statistic, ratio, without_broken
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """Settings.

    Attributes:
        lower_percentile: p, the share of the pixels that becomes 0; 0 makes it min-max normalisation. The default is
            that of the paper's released code; published values for other methods and backbones lie between 0.2 and 0.6.
    """

    name: Literal["ivr"] = "ivr"
    lower_percentile: float = Field(default=0.45, ge=0, lt=1)


def build(config: Config) -> Callable[[Tensor], Tensor]:
    """The normaliser: a function from maps (B, H, W) to maps in [0, 1]."""
    return partial(ivr, lower_percentile=config.lower_percentile)


def ivr(maps: Tensor, lower_percentile: float) -> Tensor:
    """Scale every map so that the percentile becomes 0 and the maximum 1, and cut off what is below 0.

    Args:
        maps: (B, H, W) floats of any scale; not changed.
        lower_percentile: in [0, 1).

    Returns:
        (B, H, W), same type. Constant maps, maps with a value that is not finite and maps whose percentile is their
        maximum become zeros, with zero gradient.
    """
    maps = without_broken(maps)
    raised = (maps - order_statistic(maps, int(lower_percentile * maps[0].numel()))).clamp(min=0)
    return ratio(raised, raised.amax((1, 2), keepdim=True))
