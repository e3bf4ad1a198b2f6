"""Score-CAM.

Idea: the weight of a channel is the network's score for the image masked by it: the channel, enlarged and scaled to [0,
1], is the mask. No gradient is needed.

Paper: Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks (Wang, Wang, Du, Yang, Zhang,
Ding, Mardziel, Hu), CVPR Workshops 2020.

Symbols: A_l^k -> channel k of the block's output; H_l^k -> `masks`; C(A_l^k), the channel-wise increase -> `scores`;
alpha_k -> `weight`; target layer -> `block`.

Kept from the released code: three forms of it go by this name, and all are here. `variant: softmax` (the package
grad-cam): corners aligned when the mask is enlarged, the logits weighted by a softmax over the channels. `torchcam`:
the mask scaled before it is enlarged, corners not aligned, then the same softmax, in which the logit of the whole image
cancels. `authors` (the first author's repository): the label's probability is the weight itself, without a softmax over
channels, and a constant channel is left out. In all of them the mask multiplies the normalised image, so hidden parts
have the mean colour and are not black. ReLU on the sum over channels.

Not kept: the authors' map was made at the size of the image, which is the same map, enlarged.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from wsol.extractor import BlockConfig, PassExtractor, logits_in_chunks, output_at
from wsol.method import Method
from wsol.types import ScoreMaps

Variant = Literal["softmax", "torchcam", "authors"]
EPSILON = 1e-8


class Config(BlockConfig):
    """Settings of the form and of the cost.

    Attributes:
        variant: `softmax` and `torchcam` weight the channels by a softmax of their logits, `authors` by the label's
            probability.
        chunk: number of masked images in one pass. Larger is faster and needs more memory; the maps are the same. Every
            image is masked once for each channel of the block.
    """

    name: Literal["score_cam"] = "score_cam"
    variant: Variant = "softmax"
    chunk: int = Field(default=32, ge=1)


def build(config: Config) -> PassExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return PassExtractor(config.block, partial(_maps, config=config), lambda channels: channels)


def _maps(method: Method, block: str, images: Tensor, labels: Tensor, config: Config) -> ScoreMaps:
    output, logits = output_at(method, block, images, labels)
    weight = torch.stack(
        [
            _weight(method, image, label, channels.float(), config)
            for image, label, channels in zip(images, labels, output, strict=True)
        ]
    )
    return ScoreMaps(torch.einsum("bc,bchw->bhw", weight, output.float()).relu(), logits.float())


def _weight(method: Method, image: Tensor, label: Tensor, channels: Tensor, config: Config) -> Tensor:
    """Weights (C,) of the channels (C, h, w) of one image (3, H, W)."""
    found = masks(channels, image.shape[1:], config.variant)

    def rows(part: slice) -> tuple[Tensor, Tensor]:
        masked = image * found[part, None].to(image.dtype)
        return masked, label.expand(len(masked))

    logits = logits_in_chunks(method, rows, len(channels), config.chunk).float()
    if config.variant == "authors":
        constant = channels.flatten(1).amax(1) == channels.flatten(1).amin(1)
        return logits.softmax(dim=1)[:, label].masked_fill(constant, 0)
    return logits[:, label].softmax(dim=0)


def masks(channels: Tensor, size: tuple[int, ...], variant: Variant) -> Tensor:
    """The channels (C, h, w) of one image as masks (C, H, W) over it, between 0 and 1; a constant channel hides all."""
    first = _scaled(channels, EPSILON) if variant == "torchcam" else channels
    large = F.interpolate(first[None], tuple(size), mode="bilinear", align_corners=variant == "softmax")[0]
    if variant == "torchcam":
        return large
    return _scaled(large, EPSILON if variant == "softmax" else 0.0)


def _scaled(channels: Tensor, epsilon: float) -> Tensor:
    low = channels.amin(dim=(1, 2), keepdim=True)
    extent = channels.amax(dim=(1, 2), keepdim=True) - low + epsilon
    return (channels - low) / extent.where(extent != 0, float("inf"))
