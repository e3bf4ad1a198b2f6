"""VGG-16 with one extra convolution instead of its fully connected layers (Simonyan & Zisserman, ICLR 2015; Choe et
al., CVPR 2020)."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Literal

from torch import nn

from wsol.backbones import _weights
from wsol.network import Backbone, BlockInfo
from wsol.schema import BackboneConfig

GROUPS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and channels between two pools."""

FEATURES = 1024


class Config(BackboneConfig):
    """VGG-16 without batch norm, without its last pool and its classifier, with `conv6`: 1024 channels.

    Stride 16 is the published small map, 8 (the fourth pool is dropped) the large one. `conv6` always starts from
    random weights and learns at the head's rate.
    """

    name: Literal["vgg16"] = "vgg16"
    stride: Literal[8, 16] = 16


def build(config: Config) -> Backbone:
    """Blocks `conv<group>_<index>` (with their ReLU), `pool1` ... `pool4` (`pool4` passes its input on at stride 8) and
    `conv6`."""
    blocks, info = _layers(config.stride)
    backbone = Backbone(blocks, info, name=config.name, fast_blocks=["conv6"])
    _weights.he(backbone)
    _weights.load(backbone, config.weights, _published(blocks))
    return backbone


def _layers(stride: int) -> tuple[dict[str, nn.Module], dict[str, BlockInfo]]:
    blocks: dict[str, nn.Module] = {}
    info: dict[str, BlockInfo] = {}
    channels, reached = 3, 1
    for group, (count, width) in enumerate(GROUPS, start=1):
        for index in range(1, count + 1):
            name = f"conv{group}_{index}"
            blocks[name], info[name] = _conv(channels, width), BlockInfo(width, reached)
            channels = width
        if group < len(GROUPS):
            pools = reached < stride
            reached *= 2 if pools else 1
            blocks[f"pool{group}"] = nn.MaxPool2d(2, stride=2) if pools else nn.Identity()
            info[f"pool{group}"] = BlockInfo(width, reached)
    blocks["conv6"], info["conv6"] = _conv(channels, FEATURES), BlockInfo(FEATURES, reached)
    return blocks, info


def _conv(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, out_channels, 3, padding=1), relu=nn.ReLU(inplace=True)))


def _published(blocks: dict[str, nn.Module]) -> _weights.Published:
    prefixes, position = {}, 0
    for group, (count, _) in enumerate(
        GROUPS, start=1
    ):  # torchvision numbers convolutions, ReLUs and pools in one list
        for index in range(1, count + 1):
            prefixes[f"features.{position}"] = f"conv{group}_{index}.conv"
            position += 2
        position += 1
    return _weights.Published(_file, prefixes, ignored=("classifier",), random=("conv6",))


def _file() -> Path:
    from torchvision.models import VGG16_Weights  # slow to import, and settings are checked without it

    return _weights.from_url(VGG16_Weights.IMAGENET1K_V1.url)
