"""The transformers whose numbers were recorded, with their weights made of the names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from tests.support.published_networks import drawn_weight
from wsol.backbones import deit as plugin
from wsol.method import Method
from wsol.network import CamHead, Classifier
from wsol.tokens import TokenBackbone
from wsol.types import Activations

CLASSES = 7
Arrays = dict[str, np.ndarray]


def recorded_backbone(arrays: Arrays) -> TokenBackbone:
    """The recorded network without its head, in evaluation mode."""
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
