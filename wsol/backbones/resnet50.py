"""ResNet-50 with a fine feature map (He et al., CVPR 2016; the localisation variant of Choe et al., CVPR 2020)."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Literal

from torch import nn

from wsol.backbones import _weights
from wsol.network import Backbone, BlockInfo
from wsol.schema import BackboneConfig

STAGES = ((1, 3, 64), (2, 4, 128), (3, 6, 256), (4, 3, 512))
"""Stage number, bottlenecks, inner channels (a fourth of the output's)."""


class Config(BackboneConfig):
    """ResNet-50 without its classifier: 2048 channels.

    Stride 16 is the published small map (stage 4 keeps its size), 8 the published large one (stage 3 too), 32 the
    classification network. No dilation. All of stage 4 learns at the head's rate.
    """

    name: Literal["resnet50"] = "resnet50"


def build(config: Config) -> Backbone:
    """Blocks `stem` (stride 2), `pool` (stride 4) and `layer<stage>_<bottleneck>`, counted as in torchvision."""
    blocks, info = _layers(config.stride)
    backbone = Backbone(
        blocks, info, name=config.name, fast_blocks=[name for name in blocks if name.startswith("layer4_")]
    )
    _weights.xavier(backbone)
    _weights.load(backbone, config.weights, _published(blocks))
    return backbone


def _layers(stride: int) -> tuple[dict[str, nn.Module], dict[str, BlockInfo]]:
    conv = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    stem = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(64), relu=nn.ReLU(inplace=True)))
    blocks: dict[str, nn.Module] = {"stem": stem, "pool": nn.MaxPool2d(3, stride=2, padding=1)}
    info = {"stem": BlockInfo(64, 2), "pool": BlockInfo(64, 4)}
    channels, reached = 64, 4
    for stage, count, width in STAGES:
        for index in range(count):
            step = 2 if stage > 1 and index == 0 and reached < stride else 1
            name = f"layer{stage}_{index}"
            blocks[name], channels, reached = _bottleneck(channels, width, step), 4 * width, reached * step
            info[name] = BlockInfo(channels, reached)
    return blocks, info


def _bottleneck(channels: int, width: int, stride: int) -> nn.Module:
    from torchvision.models.resnet import Bottleneck  # slow to import, and settings are checked without it

    shortcut = None
    if channels != 4 * width:  # the projection stays where stages change, also at stride 1
        shortcut = nn.Sequential(
            nn.Conv2d(channels, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
        )
    block: nn.Module = Bottleneck(channels, width, stride, shortcut)
    return block


def _published(blocks: dict[str, nn.Module]) -> _weights.Published:
    prefixes = {name.replace("_", "."): name for name in blocks if name.startswith("layer")}
    return _weights.Published(_file, {"conv1": "stem.conv", "bn1": "stem.norm", **prefixes}, classifier="fc")


def _file() -> Path:
    from torchvision.models import ResNet50_Weights

    return _weights.from_url(ResNet50_Weights.IMAGENET1K_V1.url)
