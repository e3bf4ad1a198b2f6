"""XGrad-CAM.

Idea: the weight of a channel is the mean of its gradients, weighted by its activations. The sum of the map then changes
with the activations as the score does.

Paper: Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs (Fu, Hu, Dong, Guo, Gao, Li), BMVC
2020.

Symbols: F -> the block's output; the derivative of S_c -> `gradient`; alpha_k -> `weight`; target layer -> `block`.

Kept from the released code (the package grad-cam): 1e-7 is added to the sum of a channel's activations, so a channel
that is 0 everywhere has no weight. ReLU on the sum over channels.

Not kept: nothing. At the last block of a network with average pooling it is Grad-CAM; it differs at earlier ones. If
activations have both signs, their sum can cancel and the weight becomes large, as in the released code.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from wsol.extractor import BlockConfig, BlockExtractor

EPSILON = 1e-7


class Config(BlockConfig):
    """No settings except the block."""

    name: Literal["x_grad_cam"] = "x_grad_cam"


def build(config: Config) -> BlockExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return BlockExtractor(config.block, x_grad_cam)


def x_grad_cam(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    """Maps (B, h, w) from the output and the gradient (B, C, h, w) of a block; see `wsol.extractor.Formula`."""
    total = output.sum(dim=(2, 3), keepdim=True) + EPSILON
    weight = (gradient * output).sum(dim=(2, 3), keepdim=True) / total.where(total != 0, float("inf"))
    return (weight * output).sum(dim=1).relu()
