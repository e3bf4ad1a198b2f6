"""The method's own map.

Idea: every method knows how to make the map of a class (`Method.class_map`); this extractor asks for it and adds nothing.
Paper: "Learning Deep Features for Discriminative Localization" (Zhou et al., CVPR 2016), for methods that change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from wsol.config import PluginConfig
from wsol.method import Method
from wsol.types import ScoreMaps


class Config(PluginConfig):
    """No settings."""

    name: Literal["cam"] = "cam"


def build(config: Config) -> Callable[[Method, Tensor, Tensor], ScoreMaps]:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B, K)."""
    return score_maps


def score_maps(method: Method, images: Tensor, labels: Tensor) -> ScoreMaps:
    """Raw maps of the asked classes, without gradient."""
    return method.score_maps(images, labels)
