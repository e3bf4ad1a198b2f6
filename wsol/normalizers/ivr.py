"""IVR, infimum of value range.

Idea: the minimum of a map depends on a single pixel and lies far below the background, so a low percentile becomes 0,
and everything below it too: max(0, s - Per_p(s)) / max(s - Per_p(s)).
Paper: "Normalization Matters in Weakly Supervised Object Localization" (Kim et al., ICCV 2021).
Symbols: p -> lower_percentile (0 to 1); s -> maps.
Kept from the released code: Per_p is the value at index floor(p N) of the N sorted ones, without interpolation.
`form: crop_cam` is the formula of the released code of CropCAM (Hwang et al., Neurocomputing 2025), used in its
training and in its evaluation: the percentile is the value nearest to p (N - 1), and the divisor the maximum of the
*unshifted* map, so that no value becomes 1.
Not kept: a percentile equal to the maximum gave NaN; here the map becomes zeros, as with a maximum that is not positive
under `form: crop_cam`.
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

Form = Literal["paper", "crop_cam"]


class Config(PluginConfig):
    """Settings.

    Attributes:
        lower_percentile: p, the share of the pixels that becomes 0; 0 makes it min-max normalisation. The default is
            that of the paper's released code; published values for other methods and backbones lie between 0.2 and 0.6.
        form: the formula of the paper, or the one in CropCAM's released code.
    """

    name: Literal["ivr"] = "ivr"
    lower_percentile: float = Field(default=0.45, ge=0, lt=1)
    form: Form = "paper"


def build(config: Config) -> Callable[[Tensor], Tensor]:
    """The normaliser: a function from maps (B, H, W) to maps in [0, 1]."""
    return partial(ivr, lower_percentile=config.lower_percentile, form=config.form)


def ivr(maps: Tensor, lower_percentile: float, form: Form = "paper") -> Tensor:
    """Scale every map so that the percentile becomes 0 and the maximum 1, and clip values below 0.

    Args:
        maps: (B, H, W) floats of any scale; not changed.
        lower_percentile: in [0, 1).
        form: see `Config`; with `crop_cam` the maximum stays below 1.

    Returns:
        (B, H, W), same type. Constant maps, maps with a value that is not finite and maps whose percentile is their
        maximum become zeros, with zero gradient.
    """
    maps, pixels = without_broken(maps), maps[0].numel()
    index = int(lower_percentile * pixels) if form == "paper" else _nearest(lower_percentile, pixels)
    raised = (maps - order_statistic(maps, index)).clamp(min=0)
    return ratio(raised, (raised if form == "paper" else maps).amax((1, 2), keepdim=True))


def _nearest(percentile: float, pixels: int) -> int:
    """The index that torch's quantile takes in single precision, in which 0.3 is a little more than 0.3."""
    return int((torch.tensor(percentile, dtype=torch.float32) * (pixels - 1)).round())
