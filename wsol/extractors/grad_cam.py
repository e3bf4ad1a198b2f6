"""Grad-CAM.

Idea: the mean of the gradient over the cells is the importance of each channel of a block for the class. The channels,
weighted by it, add up to a map, of which the positive part is kept.

Paper: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization (Selvaraju, Cogswell, Das,
Vedantam, Parikh, Batra), ICCV 2017.

Symbols: A^k -> the block's output; alpha_k^c -> `weights`; y^c -> the logit of the label; target_layer -> `block`.

Kept from the released code (of BagCAMs, Zhu et al., ECCV 2022): the logit is differentiated, not the probability; ReLU
and sum come before the map is enlarged. At the last block of a network with average pooling this is the class map
without bias, cut off at zero. The map is empty where all evidence is negative; that is more often so in early blocks.

Not kept: an empty map was NaN until the last normalizer; here it is zero. Maps are enlarged like those of every
extractor, not bilinearly, unless `evaluation.interpolation: bilinear` says so.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from wsol.extractor import BlockConfig, BlockExtractor


class Config(BlockConfig):
    """No settings except the block."""

    name: Literal["grad_cam"] = "grad_cam"


def build(config: Config) -> BlockExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return BlockExtractor(config.block, grad_cam)


def grad_cam(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    """Maps (B, h, w) from the output and the gradient (B, C, h, w) of a block; see `wsol.extractor.Formula`."""
    weights = gradient.mean(dim=(2, 3))
    return torch.einsum("bchw,bc->bhw", output, weights).relu()
