"""Four convolutions: a network that learns the synthetic data set in seconds on a CPU, for demos and tests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from wsol.backbones import _weights
from wsol.network import Backbone, BlockInfo
from wsol.schema import BackboneConfig


class Config(BackboneConfig):
    """Four blocks of convolution, batch norm and ReLU; 3x3, but 4x4 where the stride is 2.

    Attributes:
        width: channels of the first block; every next block has twice as many, the features 8 times.
        batch_norm: normalise behind every convolution.
    """

    name: Literal["tiny"] = "tiny"
    weights: Literal["none"] = "none"
    stride: Literal[8, 16] = 8
    width: int = Field(default=16, ge=1, le=512)
    batch_norm: bool = True


def build(config: Config) -> Backbone:
    """Blocks `conv1` ... `conv4`."""
    blocks: dict[str, nn.Module] = {}
    info: dict[str, BlockInfo] = {}
    channels, reached = 3, 1
    for index in range(4):
        step = 2 if reached < config.stride else 1
        out_channels = config.width * 2**index
        name = f"conv{index + 1}"
        blocks[name] = _conv(channels, out_channels, step, config.batch_norm)
        channels, reached = out_channels, reached * step
        info[name] = BlockInfo(channels, reached)
    backbone = Backbone(blocks, info)
    _weights.he(backbone)
    return backbone


def _conv(channels: int, out_channels: int, stride: int, batch_norm: bool) -> nn.Sequential:
    """With stride 2 an even kernel sees as far to the left as to the right of its cell; an odd one would shift the maps
    by half a cell."""
    kernel = 4 if stride == 2 else 3
    norm = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, padding=1, bias=not batch_norm), norm, nn.ReLU(inplace=True)
    )
