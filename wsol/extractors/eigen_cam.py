"""Eigen-CAM.

Idea: the map is the first principal component of a block's activations, cells as samples and channels as variables. It
is class-agnostic and needs no gradient.

Paper: Eigen-CAM: Class Activation Map using Principal Components (Muhammad, Yeasin), IJCNN 2020.

Symbols: O_{L=k} -> the block's output; V_1 -> the first eigenvector; target layer -> `block`.

Kept from the released code (the package grad-cam): the mean over cells is subtracted from each channel first, which the
paper does not do; after a ReLU, the paper's own component is nearly that mean. The sign of a principal component is
arbitrary: the map is negated if its lowest value is farther from 0 than its highest (Seg-Eigen-CAM's rule), which that
package offers as a choice.

Not kept: without that rule, its ReLU erased the object if the sign was wrong. Instead of the whole singular value
decomposition, the smaller of the two Gram matrices is used, which has the same first component. The map keeps both
signs, without a ReLU; NaN counts as 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from wsol.extractor import BlockConfig, PassExtractor, output_at
from wsol.method import Method
from wsol.types import ScoreMaps


class Config(BlockConfig):
    """No settings except the block."""

    name: Literal["eigen_cam"] = "eigen_cam"


def build(config: Config) -> PassExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w), the same for all labels, and
    logits (B, K)."""
    return PassExtractor(config.block, _maps)


def _maps(method: Method, block: str, images: Tensor, labels: Tensor) -> ScoreMaps:
    output, logits = output_at(method, block, images, labels)
    return ScoreMaps(eigen_cam(output), logits.float())


def eigen_cam(output: Tensor) -> Tensor:
    """Maps (B, h, w) float32 from the output (B, C, h, w) of a block; 0 where all cells of an image are alike."""
    height, width = output.shape[2:]
    cells = output.double().nan_to_num().flatten(2).transpose(1, 2)  # (B, N, C)
    cells = cells - cells.mean(dim=1, keepdim=True)
    if cells.shape[1] <= cells.shape[2]:
        values, vectors = torch.linalg.eigh(cells @ cells.transpose(1, 2))
        projected = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()  # X v = s u
    else:
        projected = (cells @ torch.linalg.eigh(cells.transpose(1, 2) @ cells)[1][:, :, -1:]).squeeze(2)
    low, high = projected.amin(dim=1, keepdim=True), projected.amax(dim=1, keepdim=True)
    upright = torch.where(low.abs() > high.abs(), -projected, projected)
    return upright.reshape(-1, height, width).float()
