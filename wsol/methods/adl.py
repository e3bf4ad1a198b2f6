"""Attention-based dropout layer.

Idea: the mean over channels shows where a network looks. A layer without weights sometimes hides the place where it
looks most, and otherwise weights all places in proportion, so the network also learns the less discriminative parts,
without losing accuracy.

Paper: Attention-based Dropout Layer for Weakly Supervised Object Localization (Choe, Shim), CVPR 2019.

Symbols: F -> `features`; M_att, the mean over channels -> `attention`; M_drop -> `kept`; M_imp -> `importance`; gamma
(released code: adl_threshold) -> `drop_threshold`; drop_rate -> `drop_rate`.

Kept from the released code (Choe et al., CVPR 2020): three layers at the places below; one random draw for each layer
and pass, shared by the whole batch; `drop_rate` is the probability of hiding; a cell is hidden where the attention is
at least `drop_threshold` times its maximum; the importance carries gradient, the drop mask does not; the default
threshold is 0.9, that of the command line, not the 0.8 of the class; Inception has no dropout beside these layers.

Not kept: the random choice is made on the device, without waiting for it. Each of several workers draws for itself. On
transformers, for which nothing was published, the mean over channels has both signs and shows nothing; there, after the
middle and the last block, the attention is that of the class token, as a multiple of its mean. None of it changes a
number of a published run, which had one worker. The variant `released` of the search spaces takes the last epoch, in
single precision, and all images of ImageNet.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from wsol.method import Method
from wsol.network import Backbone, Classifier
from wsol.schema import PluginConfig
from wsol.tokens import TokenBackbone

PLACES = {
    "vgg16": ("pool3", "conv4_3", "conv5_3"),
    "resnet50": ("layer3_0", "layer4_0", "layer4_2"),
    "inception_v3": ("mixed_5d", "mixed_6e", "extra_2"),
}
"""Backbone -> the blocks that a layer follows."""

WITHOUT_DROPOUT = ("inception_v3",)


class Config(PluginConfig):
    """Settings of the layers.

    With the backbone `inception_v3` its `dropout` has no effect, because the published network has none.

    Attributes:
        drop_threshold: gamma, in units of the largest attention of an image; cells with at least this attention are
            hidden.
        drop_rate: probability that a layer hides cells in a pass; otherwise it weights them by their importance.
    """

    name: Literal["adl"] = "adl"
    drop_threshold: float = Field(default=0.9, ge=0, le=1)
    drop_rate: float = Field(default=0.75, ge=0, le=1)


def build(config: Config, inner: Classifier) -> Method:
    """CAM on a network with the layers inserted; it keeps its head."""
    backbone = inner.backbone
    if backbone.name in WITHOUT_DROPOUT:
        _switch_dropout_off(backbone)
    for block in places(backbone):
        layer = AttentionDropout(config.drop_threshold, config.drop_rate)
        if isinstance(backbone, TokenBackbone):
            backbone.insert_after(block, layer, reads="class_row")
        else:
            backbone.insert_after(block, layer)
    return Method(inner)


def places(backbone: Backbone) -> tuple[str, ...]:
    """The published blocks; in other networks the last block of a larger feature map, and the middle and last one of
    the final size, or with attention."""
    if backbone.name in PLACES:
        return PLACES[backbone.name]
    final = backbone.attention_blocks if isinstance(backbone, TokenBackbone) else backbone.final_blocks
    larger = [name for name in backbone.block_names if name not in backbone.final_blocks]
    return tuple(dict.fromkeys((*larger[-1:], final[(len(final) - 1) // 2], final[-1])))


class AttentionDropout(nn.Module):
    """The layer: identity in evaluation; in training it hides the most attended cells or weights all cells by their
    importance."""

    def __init__(self, drop_threshold: float, drop_rate: float) -> None:
        super().__init__()
        self.drop_threshold = drop_threshold
        self.drop_rate = drop_rate

    def forward(self, features: Tensor, class_row: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w), drawn with torch's global generator; by the class token's attention (B, H, N)
        where it is given."""
        if not self.training:
            return features
        attention = features.mean(dim=1, keepdim=True) if class_row is None else over_cells(class_row, features)
        kept = attention.detach() < self.drop_threshold * attention.detach().amax(dim=(2, 3), keepdim=True)
        hides = torch.rand((), device=features.device) < self.drop_rate
        # One product with the chosen map: the other choice costs a map of one channel, a branch would wait for the
        # device.
        return features * torch.where(hides, kept.to(features.dtype), attention.sigmoid())


def over_cells(class_row: Tensor, features: Tensor) -> Tensor:
    """The class token's attention (B, H, N) to the cells of features (B, C, h, w), in multiples of its mean: (B, 1, h,
    w)."""
    height, width = features.shape[2:]
    cells = class_row[:, :, -height * width :].mean(dim=1)
    return (cells / cells.mean(dim=1, keepdim=True)).to(features.dtype).reshape(-1, 1, height, width)


def _switch_dropout_off(backbone: Backbone) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
