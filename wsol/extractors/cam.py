"""The method's own map.

Idea: every method knows how to make the map of a class (`Method.class_map`); this extractor asks for it. It can leave
out negative class weights, because the negative weight of a channel that is active on the object lowers the map there.
Paper: "Learning Deep Features for Discriminative Localization" (Zhou et al., CVPR 2016), for methods that change
nothing; the clamping from "Rethinking Class Activation Mapping for Weakly Supervised Object Localization" (Bae et al.,
ECCV 2020). Symbols: NWC, truncate -> `clip_negative_weights`.
Kept from the released code: the logits keep all weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from torch import Tensor

from wsol.errors import InputError
from wsol.method import Method
from wsol.network import CamHead
from wsol.schema import PluginConfig
from wsol.types import ScoreMaps


class Config(PluginConfig):
    """Settings.

    Attributes:
        clip_negative_weights: class weights below zero count as zero in the map.
    """

    name: Literal["cam"] = "cam"
    clip_negative_weights: bool = False


def build(config: Config) -> Callable[[Method, Tensor, Tensor], ScoreMaps]:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return clipped_score_maps if config.clip_negative_weights else score_maps


def score_maps(method: Method, images: Tensor, labels: Tensor) -> ScoreMaps:
    """Raw maps of the requested classes, without gradient; see `Method.score_maps`."""
    return method.score_maps(images, labels)


def clipped_score_maps(method: Method, images: Tensor, labels: Tensor) -> ScoreMaps:
    """The same without negative class weights. Raises InputError if the method's map is not made from class weights."""
    with _clipping(method):
        return method.score_maps(images, labels)


@contextmanager
def _clipping(method: Method) -> Iterator[None]:
    heads = [module for module in method.modules() if isinstance(module, CamHead)]
    if not heads:
        raise InputError(
            "evaluation.extractor.clip_negative_weights: this method's map is not made of class weights; set it to"
            " false"
        )
    for head in heads:
        head.clip_negative_weights = True
    try:
        yield
    finally:
        for head in heads:
            head.clip_negative_weights = False
