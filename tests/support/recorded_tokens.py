"""The transformers whose numbers were recorded, with their weights made of the names, and one that passes recorded
tokens and attention on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from tests.support.published_networks import drawn_weight
from wsol.backbones import deit as plugin
from wsol.method import Method
from wsol.network import CamHead, Classifier
from wsol.tokens import InnerTaps, TokenBackbone
from wsol.types import Activations

CLASSES = 7
Arrays = dict[str, np.ndarray]


def recorded_backbone(arrays: Arrays) -> TokenBackbone:
    """The recorded network without its head, in evaluation mode."""
    assert arrays["num_classes"] == CLASSES
    width, depth, heads, side = (int(arrays[name]) for name in ("embed_dim", "depth", "num_heads", "img_size"))
    backbone = plugin.deit(plugin.Size(width, depth, heads, side // plugin.PATCH))
    backbone.blocks.load_state_dict(
        {
            key: drawn_weight(published_name(key), tuple(value.shape), str(arrays["key_salt"]))
            for key, value in backbone.blocks.state_dict().items()
        }
    )
    return backbone.eval()


def published_name(key: str) -> str:
    """timm's name of a weight of ours, such as `blocks.0.attn.qkv.bias` of `blocks_0.attn.qkv.bias`."""
    for own in ("cls_token", "pos_embed"):
        key = key.replace(f"patch_embed.{own}", own)
    return key.replace("blocks_", "blocks.")


def recorded_images(arrays: Arrays, count: int, side: int) -> Tensor:
    drawn = np.random.default_rng(int(arrays["input_seed"])).standard_normal((count, 3, side, side))
    return torch.from_numpy(drawn.astype(np.float32))


class ClassTokenMethod(Method):
    """The plain network: a linear layer on the class token."""

    def __init__(self, backbone: TokenBackbone, arrays: Arrays) -> None:
        super().__init__(Classifier(backbone, CamHead(backbone.channels, CLASSES)))
        self.linear = nn.Linear(backbone.channels, CLASSES)
        salt = str(arrays["key_salt"])
        self.linear.load_state_dict(
            {
                key: drawn_weight(f"head.{key}", tuple(value.shape), salt)
                for key, value in self.linear.state_dict().items()
            }
        )

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        found = super().activate(images, labels, {*taps, "norm.prefix"})
        return Activations(found.features, self.linear(found.taps["norm.prefix"][:, 0]), found.taps)


class Replayed(TokenBackbone):
    """Has recorded tokens and attention, whatever the images (B, 3, h, w) show; a cell is a pixel.

    Args:
        cells: (B, h w, D), the tokens of the grid.
        attention: of the class token (L, B, H, 1 + h w), or of all tokens (L, B, H, 1 + h w, 1 + h w).
    """

    def __init__(self, cells: Tensor, attention: Tensor) -> None:
        blocks: dict[str, nn.Module] = {f"blocks_{index}": Attending(one) for index, one in enumerate(attention)}
        super().__init__({"embedding": Given(cells), **blocks}, blocks, channels=cells.shape[2], patch=1)


class Given(nn.Module):
    """Cells behind a class token of zeros."""

    def __init__(self, cells: Tensor) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, images: Tensor) -> Tensor:
        assert len(images) == len(self.cells)
        return torch.cat((torch.zeros_like(self.cells[:, :1]), self.cells), dim=1)


class Attending(nn.Module):
    """Says what it was given as its attention, and changes no token."""

    def __init__(self, attention: Tensor) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, values: Tensor, inner: InnerTaps) -> Tensor:
        if self.attention.ndim == 4:
            inner.keep("attention", lambda: self.attention)
        inner.keep("class_row", lambda: self.attention if self.attention.ndim == 3 else self.attention[:, :, 0])
        return values
