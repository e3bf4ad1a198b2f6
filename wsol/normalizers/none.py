"""No normalisation.

Idea: a map that is a probability already keeps its values, so a threshold means the same in every image.
Paper: "F-CAM: Full Resolution Class Activation Maps via Guided Parametric Upscaling" (Belharbi et al., WACV 2022),
which is evaluated in this way. Not kept: values outside of [0, 1] are clipped, and a constant map, which localises
nothing, becomes zeros, as with every normalizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from wsol.normalizers._shared import without_broken
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["none"] = "none"


def build(config: Config) -> Callable[[Tensor], Tensor]:
    """The normaliser: a function from maps (B, H, W) to maps in [0, 1]."""
    return cut


def cut(maps: Tensor) -> Tensor:
    """Leave maps (B, H, W) as they are, within [0, 1]; a constant map and a map with a value that is not finite become
    zeros, without gradient."""
    return without_broken(maps).clamp(0, 1)
