"""LayerCAM.

Idea: every cell of every channel is weighted by its own gradient where that is positive. Because no mean over the cells
is taken, the map keeps its detail also in early blocks, whose resolution is finer.

Paper: LayerCAM: Exploring Hierarchical Class Activation Maps for Localization (Jiang, Zhang, Hou, Cheng, Wei), IEEE TIP
30, 2021.

Symbols: A_ij^k -> the block's output; w_ij^kc, the positive part of the gradient g_ij^kc -> `gradient.relu()`; target
layer -> `block`.

Kept from the released code: ReLU on the gradient and on the sum, both before the map is enlarged. If the block's output
is not negative, this is BagCAMs without guided backpropagation and bagging.

Not kept: early blocks' maps were scaled by tanh before several of them were fused; here each block gives its own map.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from wsol.extractor import BlockConfig, BlockExtractor


class Config(BlockConfig):
    """No settings except the block."""

    name: Literal["layer_cam"] = "layer_cam"


def build(config: Config) -> BlockExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return BlockExtractor(config.block, layer_cam)


def layer_cam(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    """Maps (B, h, w) from the output and the gradient (B, C, h, w) of a block; see `wsol.extractor.Formula`."""
    return gradient.relu().mul_(output).sum(dim=1).relu()
