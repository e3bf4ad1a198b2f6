"""DeiT: the vision transformer with patches of 16 pixels and a class token (Touvron et al., ICML 2021).

Paper: Training data-efficient image transformers & distillation through attention (Touvron, Cord, Douze, Massa,
Sablayrolles, Jégou), ICML 2021. The network is that of An Image is Worth 16x16 Words (Dosovitskiy et al., ICLR 2021),
with norms before attention and MLP, and it equals timm's network of the same name, with the same names of weights. The
distilled models (two tokens before the grid) are not included.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from wsol.backbones import _weights
from wsol.errors import InputError, first_line
from wsol.schema import BackboneConfig
from wsol.tokens import InnerTaps, TokenBackbone

PATCH = 16
Resize = Literal["timm", "deit"]


@dataclass(frozen=True, slots=True)
class Size:
    """Width, blocks and heads of a network, and the side in cells of the grid that its positions were learned for."""

    width: int
    depth: int
    heads: int
    grid: int = 14


SIZES = {
    "micro": Size(48, 3, 3),
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "base_384": Size(768, 12, 12, 24),
}
PUBLISHED = {
    "tiny": "deit_tiny_patch16_224-a1311bcf",
    "small": "deit_small_patch16_224-cd65a155",
    "base": "deit_base_patch16_224-b5f2ef4d",
    "base_384": "deit_base_patch16_384-8de9b5d1",
}
"""Size -> the published file; without the digits behind the dash, timm's name of the model."""


class Config(BackboneConfig):
    """DeiT without its classifier: 192, 384 or 768 channels, one token for 16x16 pixels.

    The features are the patch tokens behind the last norm; they have both signs. The pretrained classifier reads the
    class token, so no head starts from it. Weights `imagenet` are the published files, `timm` the same numbers from the
    Hugging Face hub through the library timm; a file is a state dict with timm's names.

    Attributes:
        size: `micro` (48 channels, 3 blocks, for demos and tests) has no published weights; `base_384` learned its
            positions on images of 384 pixels, the others on 224.
        drop_path: stochastic depth: the probability, for each image, that a branch of the last block is left out; it
            rises linearly from 0 in the first block.
        position_resize: how positions are brought to the grid of images of another size, bicubically: with antialiasing
            (`timm`), or without (`deit`, the published fine-tuning).
    """

    has_tokens: ClassVar[bool] = True
    image_side_multiple: ClassVar[int] = PATCH

    name: Literal["deit"] = "deit"
    stride: Literal[16] = 16
    size: Literal["micro", "tiny", "small", "base", "base_384"] = "small"
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    position_resize: Resize = "timm"


def build(config: Config) -> TokenBackbone:
    """Blocks `patch_embed`, `blocks_0` ... and `norm`.

    Raises:
        InputError: there are no such weights.
    """
    backbone = deit(SIZES[config.size], config.drop_path, config.position_resize)
    published = _published(backbone, config.size)
    if config.weights == "timm":
        _weights.fill(backbone, _timm_state(config.size), published, Path(f"timm/{_model(config.size)}"))
    else:
        _weights.load(backbone, config.weights, published)
    # It reads the class token, and the head of a `Classifier` the mean over the grid.
    backbone.class_token_classifier, backbone.imagenet_classifier = backbone.imagenet_classifier, None
    return backbone


def deit(size: Size, drop_path: float = 0.0, position_resize: Resize = "timm") -> TokenBackbone:
    """The network with random weights. Arguments: see `Config`."""
    rates = [drop_path * index / max(size.depth - 1, 1) for index in range(size.depth)]
    middle = {f"blocks_{index}": Block(size.width, size.heads, rate) for index, rate in enumerate(rates)}
    blocks = {
        "patch_embed": PatchEmbedding(size.width, size.grid, position_resize),
        **middle,
        "norm": _norm(size.width),
    }
    own = ("cls_token", "pos_embed")
    backbone = TokenBackbone(
        blocks,
        middle,
        channels=size.width,
        patch=PATCH,
        name="deit",
        undecayed=[f"blocks.patch_embed.{name}" for name in own],
    )
    for linear in (module for module in backbone.modules() if isinstance(module, nn.Linear)):
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
    return backbone


class PatchEmbedding(nn.Module):
    """Cuts the image into patches, one token each, after the class token; a position is added to all tokens."""

    def __init__(self, width: int, grid: int, position_resize: Resize) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, 1, width), std=0.02))
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, 1 + grid * grid, width), std=0.02))
        self.position_resize = position_resize

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + h w, D).

        Raises:
            InputError: a side is no multiple of the patch: the grid would not cover the image.
        """
        height, width = (int(side) for side in images.shape[2:])  # numbers, also where a pass is traced
        if height % PATCH or width % PATCH:
            raise InputError(
                f"data.image_size: images of {height}x{width} pixels cannot be cut into patches of {PATCH}x{PATCH}; set"
                f" a multiple of {PATCH}"
            )
        cells = self.proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(images.shape[0], -1, -1).to(cells.dtype), cells), dim=1)
        return tokens + resized_positions(self.pos_embed, (height // PATCH, width // PATCH), self.position_resize)


class Block(nn.Module):
    """Attention and MLP, each after a norm and with a residual connection."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(width), _norm(width)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, inner: InnerTaps | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D), with what `inner` wants left in it."""
        inner = inner or InnerTaps()
        tokens = tokens + self.drop_path(self.attn(inner.keep_grid("norm1", self.norm1(tokens)), inner))
        after: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return after


class Attention(nn.Module):
    """Attention of all tokens to all tokens, in several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, inner: InnerTaps) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        shape = (*tokens.shape[:2], 3, self.heads, -1)
        queries, keys, values = self.qkv(tokens).reshape(shape).permute(2, 0, 3, 1, 4)
        inner.keep("class_row", lambda: rows(queries[:, :, :1], keys).squeeze(2))
        inner.keep("attention", lambda: rows(queries, keys))
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        mixed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return mixed


class DropPath(nn.Module):
    """In training, leaves a branch out for some images, with torch's global generator, and scales it up for the
    others."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.rate
        return branch * kept / (1 - self.rate)


def rows(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention (B, H, n, N) of n queries (B, H, n, d) to all keys (B, H, N, d), behind its softmax, in float32 or
    finer."""
    scores: Tensor = queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(3)


def resized_positions(positions: Tensor, size: tuple[int, int], how: Resize) -> Tensor:
    """Positions for another grid.

    Args:
        positions: (1, 1 + n n, D), that of the class token first, which stays as it is; the grid row by row.
        size: (h, w) of the new grid.
        how: see `Config.position_resize`.

    Returns:
        (1, 1 + h w, D).
    """
    side = math.isqrt(int(positions.shape[1]) - 1)
    if size == (side, side):
        return positions
    grid = positions[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(grid, size, mode="bicubic", align_corners=False, antialias=how == "timm")
    return torch.cat((positions[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)


_norm = partial(nn.LayerNorm, eps=1e-6)


def _published(backbone: TokenBackbone, size: str) -> _weights.Published:
    own = {name: f"patch_embed.{name}" for name in ("cls_token", "pos_embed")}
    blocks = {block.replace("_", "."): block for block in backbone.attention_blocks}
    prefixes = {**own, "patch_embed": "patch_embed", **blocks, "norm": "norm"}
    return _weights.Published(partial(_file, size), prefixes, classifier="head")


def _file(size: str) -> Path:
    return _weights.from_url(f"https://dl.fbaipublicfiles.com/deit/{_file_name(size)}.pth")


def _file_name(size: str) -> str:
    if size not in PUBLISHED:
        raise InputError(
            f"backbone.size: {size} has no published weights; set `weights: none`, or one of {', '.join(PUBLISHED)}"
        )
    return PUBLISHED[size]


def _model(size: str) -> str:
    return _file_name(size).rpartition("-")[0]


def _timm_state(size: str) -> Mapping[str, Tensor]:
    """The state dict of timm's model, from the Hugging Face hub or its cache."""
    if importlib.util.find_spec("timm") is None:
        raise InputError("backbone.weights: `timm` needs the library of this name: pip install 'wsol-search[timm]'")
    import timm

    try:
        state: Mapping[str, Tensor] = timm.create_model(_model(size), pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:  # no connection, no such weights
        raise InputError(
            f"backbone.weights: timm cannot load {_model(size)} ({first_line(error)}): connect to the Hugging Face hub,"
            " or set `weights: imagenet`, or a file with a state dict of timm's names"
        ) from None
    return state
