"""CutMix.

Idea: paste a random box of one training image into another and mix their labels by area. The network has to recognise
objects from the parts that are left, so its maps cover more than the most discriminative one.

Paper: CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (Yun, Han, Oh, Chun, Choe,
Yoo), ICCV 2019.

Symbols: alpha of Beta(alpha, alpha) (released code: beta) -> `alpha`; probability of a mixed batch -> `probability`;
1 - lambda, the area of the box -> `Batch.mixed_weight`.

Kept from the released code (Choe et al., CVPR 2020): one box and one permutation for the whole batch; its half sides
are integers, so a side is 2 * (cut div 2); it is clipped at the border, and lambda is computed again from the remaining
area; only training batches change.

Not kept: Beta(alpha, alpha) is drawn through logarithms, because drawing two gamma variables gives 0 / 0 for a small
alpha. Each of several workers draws its own box and mixes its own part of the batch. None of it changes the
distribution with one worker, as published. The variant `released` of the search spaces takes the last epoch, in single
precision, and all images of ImageNet.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from wsol.method import Method
from wsol.network import Classifier
from wsol.schema import PluginConfig
from wsol.types import Batch

Box = tuple[int, int, int, int]


class Config(PluginConfig):
    """Settings of the mixing.

    Attributes:
        alpha: shape of the symmetric Beta distribution of lambda: 1 is uniform, smaller values give boxes near 0 or the
            whole image.
        probability: share of training batches that are mixed.
    """

    name: Literal["cutmix"] = "cutmix"
    alpha: float = Field(default=1.0, gt=0)
    probability: float = Field(default=1.0, ge=0, le=1)


def build(config: Config, inner: Classifier) -> Method:
    """CAM on mixed images."""
    return CutMix(inner, config)


class CutMix(Method):
    """CAM whose training batches are mixed."""

    def __init__(self, network: Classifier, config: Config) -> None:
        super().__init__(network)
        self.config = config

    def augment(self, batch: Batch) -> Batch:
        """Mix the batch with a permutation of itself, or leave it; drawn with torch's global generator of the CPU."""
        if torch.rand(()).item() >= self.config.probability:
            return batch
        count, _, height, width = batch.images.shape
        share = draw_share(self.config.alpha)
        order = torch.randperm(count).to(batch.images.device)
        center = int(torch.randint(height, ())), int(torch.randint(width, ()))
        return mix(batch, order, cut_box((height, width), share, center))


def draw_share(alpha: float) -> float:
    """One draw of Beta(alpha, alpha) in [0, 1]: lambda, the share of an image that stays."""
    # gamma(alpha) = gamma(alpha + 1) * uniform^(1 / alpha), whose logarithm does not underflow
    gamma = torch.distributions.Gamma(torch.full((2,), alpha + 1, dtype=torch.float64), 1.0).sample()
    log = gamma.log() + torch.rand(2, dtype=torch.float64).log() / alpha
    return torch.sigmoid(log[0] - log[1]).item()


def cut_box(size: tuple[int, int], share: float, center: tuple[int, int]) -> Box:
    """The box that is replaced.

    Args:
        size: (H, W) of the image.
        share: lambda in [0, 1], the share of the image that stays.
        center: (row, column) of the box.

    Returns:
        (top, left, bottom, right), half open, clipped to the image.
    """
    spans = []
    for length, middle in zip(size, center, strict=True):
        half = int(length * math.sqrt(1 - share)) // 2
        spans.append((max(middle - half, 0), min(middle + half, length)))
    (top, bottom), (left, right) = spans
    return top, left, bottom, right


def mix(batch: Batch, order: Tensor, box: Box) -> Batch:
    """Replace a box of every image by the same box of another one, and note the other label.

    Args:
        batch: B plain images.
        order: (B,) int64, the image that each one takes the box from.
        box: (top, left, bottom, right), half open.

    Returns:
        A new batch; `mixed_weight` is the area of the box over the area of the image.
    """
    top, left, bottom, right = box
    images = batch.images.clone()
    images[:, :, top:bottom, left:right] = batch.images[order, :, top:bottom, left:right]
    weight = (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
    return replace(batch, images=images, mixed_labels=batch.labels[order], mixed_weight=weight)
