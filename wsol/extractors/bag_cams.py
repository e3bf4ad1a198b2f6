"""BagCAMs.

Idea: a classifier for regions can be derived at every cell of a block, not only one for the whole image. Each of these
many weak localizers scores every cell, and the map shows the bagged score of each cell.

Paper: Bagging Regional Classification Activation Maps for Weakly Supervised Object Localization (Zhu, Chen, Jin, You,
Lu), ECCV 2022.

Symbols: Z, F -> the block's output; g -> the gradient of the log of the label's logit; g F -> `evidence`; the
localizers f_n^m with their weights Lambda -> `bag`; target_layer -> `block`. The bag over all pairs of cells (m, n) is
linear before the ReLU, so it is one mean for each channel, and the cost does not grow with the square of the number of
cells.

Kept from the released code: the log of the logit is differentiated, not the logit, so where that is negative all
evidence changes its sign; guided backpropagation; the bag is the mean over cells, although its derivation gives a sum,
which is N times stronger (`reduce: sum`); ReLU on each channel before the sum over channels, and no ReLU on the block's
own output. The published ResNet-50 runs use `block: layer3`, and so does the variant `released` of the search spaces.

Not kept: only ReLUs that are modules were guided, because modules have hooks; here functional ones too, which
Inception-v3 has before `mixed_6e`, and ReLU6. A logit of exactly 0 gave NaN, here an empty map. Maps are enlarged like
those of every extractor, not bilinearly, unless `evaluation.interpolation: bilinear` says so.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor

from wsol.extractor import BlockConfig, BlockExtractor

Reduce = Literal["mean", "sum"]


class Config(BlockConfig):
    """Settings of the bag.

    Attributes:
        reduce: how the regional localizers are combined: `mean` as released, `sum` as derived.
        guided: every ReLU after the block passes only positive gradients.
    """

    name: Literal["bag_cams"] = "bag_cams"
    reduce: Reduce = "mean"
    guided: bool = True

    def reason_against_tokens(self) -> str:
        return "it has no ReLU that the gradient could be guided at; set guided: false" if self.guided else ""


def build(config: Config) -> BlockExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return BlockExtractor(config.block, partial(_from_score, config=config), config.guided)


def _from_score(output: Tensor, gradient: Tensor, score: Tensor, config: Config) -> Tensor:
    divisor = (
        score.abs() if config.guided else score
    )  # the guided gradient is that of the absolute value: its sign went in before the ReLUs
    return bag_cams(output, gradient / divisor.where(divisor != 0, float("inf")), config.reduce)


def bag_cams(output: Tensor, gradient: Tensor, reduce: Reduce) -> Tensor:
    """Maps (B, h, w) from the output and the gradient of the log of the score, both (B, C, h, w), of a block."""
    evidence = gradient * output
    over_cells = evidence.mean if reduce == "mean" else evidence.sum
    bag = 1 + over_cells(dim=(2, 3), keepdim=True)
    return evidence.mul_(bag).relu_().sum(dim=1)
