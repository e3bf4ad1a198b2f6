"""Grad-CAM++.

Idea: the mean of Grad-CAM gives a small weight to a channel that is active on one of several objects or on a small one.
Here each cell is weighted by a ratio of derivatives that is the same for every object that a channel finds, and only
where the gradient is positive.

Paper: Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional Networks (Chattopadhyay,
Sarkar, Howlader, Balasubramanian), WACV 2018.

Symbols: A^k -> the block's output; alpha_ij^kc -> `alpha`; w_k^c -> `weights`; Y^c, the exponential of the logit,
divided out; target_layer -> `block`.

Kept from the released code (of BagCAMs, Zhu et al., ECCV 2022): the third power of the gradient is multiplied with the
output cell by cell before the sum; the denominator is 1 where it is exactly 0, and 1e-7 is added to it. That is not
small compared with the squared gradients of late blocks, so it dominates the map: the weights become nearly the third
power of the gradient.

Not kept: the exponential of the logit scaled all weights of an image, which no normalizer sees, and could overflow. An
empty map was NaN until the last normalizer; here it is zero. Maps are enlarged like those of every extractor, not
bilinearly, unless `evaluation.interpolation: bilinear` says so.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from wsol.extractor import BlockConfig, BlockExtractor

SMALLEST_DIVISOR = 1e-7


class Config(BlockConfig):
    """No settings except the block."""

    name: Literal["grad_cam_pp"] = "grad_cam_pp"


def build(config: Config) -> BlockExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return BlockExtractor(config.block, grad_cam_pp)


def grad_cam_pp(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    """Maps (B, h, w) from the output and the gradient (B, C, h, w) of a block; see `wsol.extractor.Formula`."""
    squared = gradient.square()
    # The divisor can be nearly 0 with either sign, so its last digits show in the map: powers are taken as the released
    # code does.
    divisor = 2 * squared + (output * gradient.pow(3)).sum(dim=(2, 3), keepdim=True)
    alpha = squared / (divisor.where(divisor != 0, 1.0) + SMALLEST_DIVISOR)
    weights = (alpha * gradient.relu()).sum(dim=(2, 3))
    return torch.einsum("bchw,bc->bhw", output, weights).relu()
