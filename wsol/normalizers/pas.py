"""PaS, percentile as a standard.

Idea: the largest value of a map depends on a single pixel, so a high percentile is the standard instead, and values
above it are clipped: min(1, (s - min s) / Per_i(s - min s)).
Paper: "Rethinking Class Activation Mapping for Weakly Supervised Object Localization" (Bae et al., ECCV 2020).
Symbols: i -> percentile (0 to 100); s -> maps.
Kept from the released code: there are two forms, and both are here. By default the one of "Normalization Matters in
Weakly Supervised Object Localization" (Kim et al., ICCV 2021), where Per_i is the value at index floor(i N / 100) of
the N sorted ones. With `quantised` that of the paper's authors: Per_i is the percentile (linear between neighbours) of
the 8-bit map, and box thresholds are fractions of it. As they are fractions of a map's own maximum anyway, cutting the
map off at the percentile and *not* scaling it up again gives the published boxes; scaling up gives other 8-bit levels,
and half of the boxes differ by a few pixels. The released level is a fraction of the percentile itself, ours of its
8-bit value: with a percentile between two of these the level can be one lower, in 1 of 1,500 random maps at 0.35.
Not kept: a percentile equal to the minimum gave NaN and infinities; by default the map becomes zeros. With `quantised`,
as in the released code, everything above the minimum is foreground.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from wsol.normalizers._shared import order_statistic, ratio, without_broken
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """Settings.

    Attributes:
        percentile: i, the percentile that is the standard; 100 is the maximum, which gives min-max normalisation.
        quantised: clip at the percentile of the 8-bit map and do not scale the map up again. Only for box metrics:
            pixel metrics pool scores over images, and scores of maps with different maxima cannot be compared.
    """

    name: Literal["pas"] = "pas"
    percentile: float = Field(default=90.0, gt=0, le=100)
    quantised: bool = False


def build(config: Config) -> Callable[[Tensor], Tensor]:
    """The normaliser: a function from maps (B, H, W) to maps in [0, 1]."""
    return partial(cut_at_8_bit_percentile if config.quantised else scale_by_percentile, percentile=config.percentile)


def scale_by_percentile(maps: Tensor, percentile: float) -> Tensor:
    """Scale every map so that the percentile becomes 1, and clip values above it.

    Args:
        maps: (B, H, W) floats of any scale; not changed.
        percentile: in (0, 100].

    Returns:
        (B, H, W), same type. Constant maps, maps with a value that is not finite and maps whose percentile is their
        minimum become zeros, with zero gradient.
    """
    shifted = _from_zero(maps)
    yardstick = order_statistic(shifted, int(percentile / 100 * shifted[0].numel()))
    # Cut off first: the ratio of a large value and a tiny yardstick would be infinite.
    return ratio(torch.minimum(shifted, yardstick), yardstick)


def cut_at_8_bit_percentile(maps: Tensor, percentile: float) -> Tensor:
    """Scale every map to [0, 1] by its minimum and maximum, and cut it off at the percentile of its 8-bit values.

    Args:
        maps: (B, H, W) floats of any scale; not changed.
        percentile: in (0, 100].

    Returns:
        (B, H, W), same type, in [0, percentile / 255], at least [0, 1 / 255]. Constant maps and maps with a value that
        is not finite become zeros, with zero gradient.
    """
    shifted = _from_zero(maps)
    scaled = ratio(shifted, shifted.amax((1, 2), keepdim=True))
    yardstick = _linear_percentile((scaled.detach() * 255).floor(), percentile)
    return torch.minimum(scaled, yardstick.clamp(min=1) / 255)


def _from_zero(maps: Tensor) -> Tensor:
    maps = without_broken(maps)
    return maps - maps.amin((1, 2), keepdim=True)


def _linear_percentile(maps: Tensor, percentile: float) -> Tensor:
    """The percentile (B, 1, 1) of every map, linear between neighbouring values. `torch.quantile` is the same for small
    batches only."""
    place = percentile / 100 * (maps[0].numel() - 1)
    return torch.lerp(order_statistic(maps, int(place)), order_statistic(maps, int(place) + 1), place % 1)
