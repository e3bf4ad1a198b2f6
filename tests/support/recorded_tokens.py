"""The transformers whose numbers were recorded, with their weights made of the names."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from wsol.backbones import deit as plugin
from wsol.method import Method
from wsol.network import CamHead, Classifier
from wsol.tokens import TokenBackbone
from wsol.types import Activations

CLASSES = 7
Arrays = dict[str, np.ndarray]


def recorded_weight(salt: str, key: str, shape: Iterable[int]) -> Tensor:
    """The weight of timm's name `key`."""
    shape = tuple(shape)
    drawn = np.random.default_rng(zlib.crc32((salt + key).encode())).standard_normal(shape)
    if key in ("cls_token", "pos_embed"):
        drawn = 0.3 * drawn
    elif len(shape) == 1:
        drawn = 1 + 0.1 * drawn if key.endswith("weight") else 0.05 * drawn
    else:
        drawn = drawn * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(drawn.astype(np.float32))


def recorded_backbone(arrays: Arrays) -> TokenBackbone:
    """The recorded network without its head, in evaluation mode."""
    width, depth, heads, side = (int(arrays[name]) for name in ("embed_dim", "depth", "num_heads", "img_size"))
    backbone = plugin.deit(plugin.Size(width, depth, heads, side // plugin.PATCH))
    backbone.blocks.load_state_dict(
        {
            key: recorded_weight(str(arrays["key_salt"]), published_name(key), value.shape)
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
            {key: recorded_weight(salt, f"head.{key}", value.shape) for key, value in self.linear.state_dict().items()}
        )

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        found = super().activate(images, labels, {*taps, "norm.prefix"})
        return Activations(found.features, self.linear(found.taps["norm.prefix"][:, 0]), found.taps)
