"""Shared by TS-CAM and SCM: a map for each class from the patch tokens, and the class-agnostic attention of the class
token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsol.method import Method
from wsol.network import Classifier
from wsol.tokens import TokenBackbone
from wsol.types import Activations


class SemanticHead(nn.Module):
    """A convolution, whose maps of all classes are averaged for the logits."""

    def __init__(self, channels: int, num_classes: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, num_classes, kernel, padding=kernel // 2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, h, w) -> logits (B, K)."""
        logits: Tensor = self.maps(features).mean(dim=(2, 3))
        return logits

    def maps(self, features: Tensor) -> Tensor:
        """(B, D, h, w) -> maps of all classes (B, K, h, w)."""
        maps: Tensor = self.conv(features)
        return maps

    def class_map(self, features: Tensor, labels: Tensor) -> Tensor:
        """The map (B, h, w) of one class (B,) per image, with bias; only this one is computed."""
        kernel, padding = self.conv.kernel_size, self.conv.padding
        around = F.unfold(features, kernel, padding=padding)  # type: ignore[arg-type]
        weight = self.conv.weight[labels].flatten(1).to(features.dtype)
        found = torch.einsum("bcp,bc->bp", around, weight) + self.conv.bias[labels, None].to(features.dtype)  # type: ignore[index]
        return found.reshape(-1, *features.shape[2:])


class SemanticMethod(Method):
    """A transformer with a `SemanticHead`, which leaves the attention of its class token among the taps."""

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        """Run the network, with the class token's attention in every block among the taps; these rows cost next to
        nothing."""
        return super().activate(images, labels, {*taps, *self.class_rows()})

    def class_rows(self) -> list[str]:
        """Names of the taps of the class token's attention, block by block."""
        return cast(TokenBackbone, self.network.backbone).class_rows()

    def semantic_head(self) -> SemanticHead:
        """The head, by its type."""
        return cast(SemanticHead, self.network.head)


def with_semantic_head(network: Classifier, kernel: int) -> Classifier:
    """The network with a `SemanticHead`. Its bias starts from that of the pretrained classifier if the classes are
    ImageNet's 1000."""
    backbone = cast(TokenBackbone, network.backbone)
    head = SemanticHead(backbone.channels, network.num_classes, kernel)
    pretrained = backbone.class_token_classifier
    if pretrained is not None and len(pretrained[1]) == network.num_classes:
        with torch.no_grad():
            head.conv.bias.copy_(pretrained[1])  # type: ignore[union-attr]
    network.head = head
    return network


def agnostic_attention(rows: Iterable[Tensor], size: torch.Size | tuple[int, ...]) -> Tensor:
    """Attention of the class token to the cells, mean over heads and sum over blocks.

    Args:
        rows: attention rows of each block (B, H, N), after the softmax over all N tokens.
        size: (h, w) of the grid, whose cells are the last h w tokens.

    Returns:
        (B, h, w), in float32 or finer.
    """
    over_blocks = torch.stack([row.mean(dim=1) for row in rows]).sum(dim=0)
    return over_blocks[:, -size[0] * size[1] :].reshape(-1, *size)
