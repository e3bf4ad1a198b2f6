"""F-CAM's decoder: its published steps, with modules called as in segmentation_models_pytorch (0.2.0), of which its
code is derived."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = {
    "vgg16": (1024, (256, 128, 0), (256, 128, 64)),
    "resnet50": (2048, (1024, 512, 256, 64, 0), (256, 128, 64, 32, 16)),
    "inception_v3": (1024, (768, 288, 80, 64, 0), (256, 128, 64, 32, 16)),
}
"""Of the deepest features, the skips and behind every block, as published."""


class ConvReLU(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class DecoderBlock(nn.Module):
    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvReLU(inputs + skip, outputs), ConvReLU(outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
            x = torch.cat([x, skip], dim=1)
        return self.conv2(self.conv1(x))  # type: ignore[no-any-return]


class UnetDecoder(nn.Module):
    def __init__(self, backbone: str) -> None:
        super().__init__()
        channels, skips, widths = CHANNELS[backbone]
        center = backbone == "vgg16"
        self.center = nn.Sequential(ConvReLU(channels, channels), ConvReLU(channels, channels)) if center else None
        inputs = (channels, *widths[:-1])
        self.blocks = nn.ModuleList(DecoderBlock(*block) for block in zip(inputs, skips, widths, strict=True))


class Unet(nn.Module):
    """What is beside the encoder and the classifier."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.decoder = UnetDecoder(backbone)
        self.segmentation_head = nn.Sequential(nn.Conv2d(CHANNELS[backbone][2][-1], 2, 3, padding=1))

    def forward(self, features: Tensor, skips: Sequence[Tensor], size: int) -> Tensor:
        """(B, 2, size, size)."""
        x = features if self.decoder.center is None else self.decoder.center(features)
        for block, skip in zip(self.decoder.blocks, [*skips, None], strict=True):
            x = block(x, skip)
        return F.interpolate(self.segmentation_head(x), size=(size, size), mode="bilinear", align_corners=True)
