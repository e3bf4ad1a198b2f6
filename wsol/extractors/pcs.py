"""PCS.

Idea: every cell of every channel is weighted by its own gradient, and the channels add up with their signs. BagCAMs
refines it: the score of a cell under the classifier that is derived at this very cell.

Paper: Bagging Regional Classification Activation Maps for Weakly Supervised Object Localization (Zhu, Chen, Jin, You,
Lu), ECCV 2022, which compares with it. Elsewhere the same sum is called HiResCAM.

Symbols: F -> the block's output; g -> the gradient of the label's logit; target_layer -> `block`.

Kept from the released code: ReLU on the sum over channels, before the map is enlarged. The map is empty where all
evidence is negative. At the last block of a network with average pooling it is Grad-CAM.

Not kept: an empty map was NaN until the last normalizer; here it is zero. Maps are enlarged like those of every
extractor, not bilinearly, unless `evaluation.interpolation: bilinear`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from wsol.extractor import BlockConfig, BlockExtractor


class Config(BlockConfig):
    """No settings except the block."""

    name: Literal["pcs"] = "pcs"


def build(config: Config) -> BlockExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return BlockExtractor(config.block, pcs)


def pcs(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    """Maps (B, h, w) from the output and the gradient (B, C, h, w) of a block; see `wsol.extractor.Formula`."""
    return (gradient * output).sum(dim=1).relu()
