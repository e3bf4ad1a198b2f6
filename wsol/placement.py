"""Where a method is trained and evaluated: on which device, and how its images and weights lie in memory.

A GPU reads images channels-last. On a CPU that is faster in most networks, and slower in those whose weights are mostly
wide convolutions over neighbouring cells, such as VGG16 and the branches of ACoL and SPG. Time of a training step when
contiguous, divided by that when channels-last, on one thread of an EPYC:

    share of wide weights    network                                contiguous / channels-last
    0.00                     CAM, EfficientNet-Lite0, 128 pixels    1.21
    0.30                     CAM, ResNet-50, 112 pixels             1.10
    0.64                     CAM, Inception v3, 96 pixels           0.94
    0.73                     SPG, ResNet-50, 64 pixels              0.74
    0.79                     ACoL, ResNet-50, 64 pixels             0.71
    0.84                     CAM, VGG16, 64 pixels                  0.89

The numbers that come out differ in the last digits only.
"""

from __future__ import annotations

import torch
from torch import nn

from wsol import distributed
from wsol.method import Method

WIDE = 512
"""Input channels from which a convolution is wide."""

MOST = 0.6
"""Share of the weights that have to be in wide convolutions."""


def place(method: Method) -> Method:
    """Move a method to this worker's device, in the memory layout that is fastest there; its backbone says which, so
    that images can be laid out alike."""
    device = distributed.device()
    layout = torch.channels_last
    if device.type == "cpu" and share_of_wide_convolutions(method) > MOST:
        layout = torch.contiguous_format
    method.network.backbone.memory_format = layout
    return method.to(device).to(memory_format=layout)


def share_of_wide_convolutions(module: nn.Module) -> float:
    """The share, in [0, 1], of the weights of a module that are in ungrouped convolutions of several cells over many
    channels."""
    wide = sum(
        layer.weight.numel()
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.in_channels >= WIDE
        and max(layer.kernel_size) > 1
    )
    return wide / max(1, sum(parameter.numel() for parameter in module.parameters()))
