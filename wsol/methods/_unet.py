"""A U-Net decoder over the features of a classifier: from the deepest ones to two maps of the size of the image.

Every level doubles the size (nearest), resizes to the size of its skip features (bilinear), and convolves both together
twice. The blocks that give skips are published for some backbones; in others they are the last block of every size
between image and features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsol.network import Backbone

SKIPS = {
    "vgg16": ("conv3_3", "conv2_2"),
    "resnet50": ("layer3_5", "layer2_3", "layer1_2", "stem"),
    "inception_v3": ("mixed_6e", "mixed_5d", "conv_3b", "conv_2b"),
}
"""Backbone -> the published blocks, deepest first. Some have the size of the features; the map that is doubled before
them shrinks again, as published."""

CENTERED = ("vgg16",)
"""Backbones with two more convolutions before the first level."""

WIDTHS = (256, 128, 64, 32, 16)
"""Channels after every level."""

REGIONS = 2


def skips(backbone: Backbone) -> tuple[str, ...]:
    """The blocks whose outputs the decoder reads, deepest first."""
    if backbone.name in SKIPS:
        return SKIPS[backbone.name]
    last_of = {backbone.info[name].stride: name for name in backbone.block_names}
    return tuple(last_of[stride] for stride in sorted(last_of, reverse=True) if 1 < stride < backbone.stride)


class Decoder(nn.Module):
    """Features of all depths -> scores of background and object at every pixel.

    Args:
        backbone: the backbone whose features are decoded; it does not become part of the decoder.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        channels = backbone.channels
        self.center = _twice(channels, channels) if backbone.name in CENTERED else nn.Identity()
        beside = [backbone.info[name].channels for name in skips(backbone)]
        levels = []
        for skip, width in zip([*beside, 0], WIDTHS, strict=False):
            levels.append(_twice(channels + skip, width))
            channels = width
        self.levels = nn.ModuleList(levels)
        self.head = nn.Conv2d(channels, REGIONS, 3, padding=1)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, beside: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode.

        Args:
            features: (B, C, h, w).
            beside: outputs of `skips`, deepest first.
            size: (H, W) of the image.

        Returns:
            (B, 2, H, W): scores of background and object, to be compared by softmax.
        """
        x = self.center(features)
        for level, skip in zip(self.levels, [*beside, None], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = level(x if skip is None else torch.cat((_resized(x, skip.shape[-2:]), skip), dim=1))
        return _resized(self.head(x), size)


def _twice(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (channels, width):
        conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return (
        x
        if x.shape[-2:] == torch.Size(size)
        else F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
    )
