"""Smooth Grad-CAM++.

Idea: the weights of Grad-CAM++ from gradients that are averaged over several noisy copies of the image, so that single
outliers of the gradient count less.

Paper: Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep Convolutional Neural Network
Models (Omeiza, Speakman, Cintas, Weldermariam), arXiv 1908.01224, 2019.

Symbols: A^k -> the block's output for the image itself; D_1, D_2, D_3 -> means of the gradient, its square and its cube
over the copies; alpha -> `alpha`; n, sigma -> `samples`, `deviation`; target layer -> `block`.

Kept from the released code (the package torchcam): noise is added to the normalised image; the square in the numerator
of alpha, where the paper prints the first power; 1e-8 in its denominator, which can be near 0 or negative, and nothing
is clipped. ReLU on the sum over channels.

Not kept: the weights used the gradient of the last copy instead of the mean, and the map the output of the last copy
instead of the image's own: accidents of its hooks, which `as_released: true` brings back. The noise was drawn for a
whole batch; here each image has its own, drawn by a seed of its pixels, so that a map does not depend on the images
beside it.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from wsol.extractor import BlockConfig, PassExtractor, gradient_at, output_at
from wsol.method import Method
from wsol.types import ScoreMaps

EPSILON = 1e-8


class Config(BlockConfig):
    """Settings of the noise.

    Attributes:
        samples: number of noisy copies of every image, each with a separate pass.
        deviation: standard deviation of the noise, in units of the normalised image.
        as_released: use the gradient and output of the last copy instead of the mean gradient and the image's own
            output.
    """

    name: Literal["smooth_grad_cam_pp"] = "smooth_grad_cam_pp"
    samples: int = Field(default=4, ge=1)
    deviation: float = Field(default=0.3, ge=0)
    as_released: bool = False


def build(config: Config) -> PassExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return PassExtractor(config.block, partial(_maps, config=config), lambda channels: 3 * config.samples)


def _maps(method: Method, block: str, images: Tensor, labels: Tensor, config: Config) -> ScoreMaps:
    noise = config.deviation * torch.stack([_noise(image, config.samples) for image in images], dim=1)
    return smooth_grad_cam_pp(method, block, images, labels, noise, as_released=config.as_released)


def _noise(image: Tensor, samples: int) -> Tensor:
    """(n, 3, H, W) for an image (3, H, W), by its pixels."""
    seed = zlib.crc32((image.detach().float().cpu() * 32).round().to(torch.int16).numpy().tobytes())
    drawn = torch.randn(samples, *image.shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(image.device, image.dtype)


def smooth_grad_cam_pp(
    method: Method, block: str, images: Tensor, labels: Tensor, noise: Tensor, *, as_released: bool
) -> ScoreMaps:
    """Raw maps (B, h, w) and logits (B, K).

    Args:
        method: a method in evaluation mode.
        block: name of a block.
        images: (B, 3, H, W) float32, normalised.
        labels: (B,) int64.
        noise: (n, B, 3, H, W), added to the images.
        as_released: see `Config`.
    """
    output, logits = output_at(method, block, images, labels)
    passed = [gradient_at(method, block, images + one, labels)[:2] for one in noise]
    gradients = torch.stack([gradient for _, gradient in passed]).float()
    squares, cubes = gradients.square().mean(0), gradients.pow(3).mean(0)
    total = (cubes * output.float()).sum(dim=(2, 3), keepdim=True)
    alpha = squares / (2 * squares + total + EPSILON)
    used, shown = (gradients[-1], passed[-1][0].float()) if as_released else (gradients.mean(0), output.float())
    weight = (alpha * used.relu()).sum(dim=(2, 3), keepdim=True)
    return ScoreMaps((weight * shown).sum(dim=1).relu().nan_to_num(0, 0, 0), logits.float())
