"""Inception-v3 up to its stage of 768 channels, with two extra convolutions.

Szegedy et al., CVPR 2016; the extra convolutions are those of SPG (Zhang et al., ECCV 2018), the strides those of Choe
et al., CVPR 2020.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from wsol.backbones import _weights
from wsol.network import IMAGENET_MEAN, IMAGENET_STD, Backbone, BlockInfo
from wsol.schema import BackboneConfig

EXTRA = ("extra_1", "extra_2")
FEATURES = 1024


class Config(BackboneConfig):
    """Inception-v3 without its last stage, auxiliary classifier and classifier, with `extra_1` and `extra_2`: 1024
    channels.

    Stride 16 is the published small map, 8 (no pool after `mixed_5d`) the large one. The extra blocks always start from
    random weights and learn at the head's rate.

    Attributes:
        dropout: probability of the dropout before each extra block and after the last one; the method `adl` switches it
            off, as published.
        pixels: `imagenet` normalises by the ImageNet mean and standard deviation as the published code does, `unit` to
            [-1, 1] as these weights were trained.
    """

    name: Literal["inception_v3"] = "inception_v3"
    stride: Literal[8, 16] = 16
    dropout: float = Field(default=0.5, ge=0, lt=1)
    pixels: Literal["imagenet", "unit"] = "imagenet"


def build(config: Config) -> Backbone:
    """Blocks `conv_1a` `conv_2a` `conv_2b` `pool_1` `conv_3b` `conv_4a` `pool_2` `mixed_5b` ... `mixed_5d` `pool_3`
    (passes its input on at stride 8) `mixed_6a` ... `mixed_6e` `extra_1` `extra_2`."""
    blocks, info = _layers(config.stride, config.dropout)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if config.pixels == "imagenet" else ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    backbone = Backbone(blocks, info, name=config.name, fast_blocks=EXTRA, pixel_mean=mean, pixel_std=std)
    backbone.biased_maps = True
    _weights.xavier(backbone)
    _weights.load(backbone, config.weights, _published(blocks))
    return backbone


def _layers(stride: int, dropout: float) -> tuple[dict[str, nn.Module], dict[str, BlockInfo]]:
    from torchvision.models.inception import (
        BasicConv2d,
        InceptionA,
        InceptionC,
    )  # slow to import, and settings are checked without it

    pool = nn.MaxPool2d(3, stride=2, ceil_mode=True) if stride == 16 else nn.Identity()
    # name, module, channels and stride of the output
    table: list[tuple[str, nn.Module, int, int]] = [
        ("conv_1a", BasicConv2d(3, 32, kernel_size=3, stride=2, padding=1), 32, 2),
        ("conv_2a", BasicConv2d(32, 32, kernel_size=3), 32, 2),
        ("conv_2b", BasicConv2d(32, 64, kernel_size=3, padding=1), 64, 2),
        ("pool_1", nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), 64, 4),
        ("conv_3b", BasicConv2d(64, 80, kernel_size=1), 80, 4),
        ("conv_4a", BasicConv2d(80, 192, kernel_size=3), 192, 4),
        ("pool_2", nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), 192, 8),
        ("mixed_5b", InceptionA(192, pool_features=32), 256, 8),
        ("mixed_5c", InceptionA(256, pool_features=64), 288, 8),
        ("mixed_5d", InceptionA(288, pool_features=64), 288, 8),
        ("pool_3", pool, 288, stride),
        ("mixed_6a", Mixed6a(), 768, stride),
        ("mixed_6b", InceptionC(768, channels_7x7=128), 768, stride),
        ("mixed_6c", InceptionC(768, channels_7x7=160), 768, stride),
        ("mixed_6d", InceptionC(768, channels_7x7=160), 768, stride),
        ("mixed_6e", InceptionC(768, channels_7x7=192), 768, stride),
        ("extra_1", _extra(768, dropout), FEATURES, stride),
        ("extra_2", _extra(FEATURES, dropout, last=True), FEATURES, stride),
    ]
    return {name: module for name, module, _, _ in table}, {
        name: BlockInfo(channels, reached) for name, _, channels, reached in table
    }


class Mixed6a(nn.Module):
    """Two convolution branches and a pool side by side: torchvision's InceptionB at stride 1, padded to keep the
    size."""

    def __init__(self) -> None:
        from torchvision.models.inception import BasicConv2d

        super().__init__()
        self.branch3x3 = BasicConv2d(288, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_1 = BasicConv2d(288, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 288, h, w) -> (B, 768, h, w)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, self.pool(x)), dim=1)


def _extra(channels: int, dropout: float, last: bool = False) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(dropout=nn.Dropout(dropout))
    layers["conv"] = nn.Conv2d(channels, FEATURES, 3, padding=1)
    layers["relu"] = nn.ReLU(inplace=True)
    if last:
        layers["last_dropout"] = nn.Dropout(dropout)
    return nn.Sequential(layers)


def _published(blocks: dict[str, nn.Module]) -> _weights.Published:
    convolutions = {"1a": "3x3", "2a": "3x3", "2b": "3x3", "3b": "1x1", "4a": "3x3"}
    prefixes = {f"Conv2d_{index}_{kernel}": f"conv_{index}" for index, kernel in convolutions.items()}
    prefixes |= {name.capitalize(): name for name in blocks if name.startswith("mixed")}
    return _weights.Published(
        _file, prefixes, ignored=("AuxLogits", "Mixed_7a", "Mixed_7b", "Mixed_7c", "fc"), random=EXTRA
    )


def _file() -> Path:
    from torchvision.models import Inception_V3_Weights

    return _weights.from_url(Inception_V3_Weights.IMAGENET1K_V1.url)
