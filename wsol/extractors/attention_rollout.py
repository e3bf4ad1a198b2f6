"""Attention rollout.

Idea: in a transformer every token is a mixture of the tokens before it. Multiplied through all blocks, with half of
every token passed on beside the attention, the attentions say from which cells of the image the class token was mixed.
The map is class-agnostic.

Paper: Quantifying Attention Flow in Transformers (Abnar, Zuidema), ACL 2020.

Symbols: W_att, the mean over heads -> `fused`; A = 0.5 W_att + 0.5 I -> `mixture`; the rollout of all layers ->
`rolled`; discard_ratio -> `discard`; head_fusion -> `fusion`.

Kept from the released code (vit-explain, which the field uses): before a block's attention is mixed in, the share
`discard` of its smallest entries is set to 0, 90 % by default (the paper drops none), but never the class token's
attention to itself; only this entry is protected, not the whole row of the class token. The map is divided by its
maximum.

Not kept: each entry was divided by the sum of another row than its own, which has no effect if nothing is dropped from
a mean over heads, and is wrong otherwise; `as_released: true` restores it. Entries were dropped only in the first image
of a batch; here they are dropped in each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from wsol.errors import InputError
from wsol.extractor import Extractor
from wsol.method import Method
from wsol.schema import PluginConfig
from wsol.tokens import TokenBackbone
from wsol.types import ScoreMaps

Fusion = Literal["mean", "max", "min"]


class Config(PluginConfig):
    """Settings of the rollout.

    Attributes:
        fusion: how the heads of a block become one.
        discard: share of the smallest entries of a block's attention that are dropped.
        as_released: divide each entry by the sum of the wrong row.
    """

    needs_tokens: ClassVar[bool] = True

    name: Literal["attention_rollout"] = "attention_rollout"
    fusion: Fusion = "mean"
    discard: float = Field(default=0.9, ge=0, lt=1)
    as_released: bool = False


def build(config: Config) -> Extractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w), the same for all labels, and
    logits (B, K)."""
    return partial(_maps, config=config)


def _maps(method: Method, images: Tensor, labels: Tensor, config: Config) -> ScoreMaps:
    backbone = method.network.backbone
    if not isinstance(backbone, TokenBackbone):
        raise InputError("evaluation.extractor: attention_rollout needs a transformer; choose another, such as cam")
    names = [f"{block}.attention" for block in backbone.attention_blocks]
    with torch.no_grad():
        activations = method.activate(images, labels, names)
    rolled = attention_rollout(
        [activations.taps[name] for name in names], config.fusion, config.discard, as_released=config.as_released
    )
    height, width = activations.features.shape[2:]
    cells = rolled[:, -height * width :]
    highest = cells.amax(dim=1, keepdim=True)
    maps = (cells / highest.where(highest > 0, 1.0)).reshape(-1, height, width)
    return ScoreMaps(maps.float(), activations.logits.detach().float())


def attention_rollout(attentions: Sequence[Tensor], fusion: Fusion, discard: float, *, as_released: bool) -> Tensor:
    """The share of every token in the class token, (B, N).

    Args:
        attentions: the attention of every block (B, H, N, N), after the softmax, the first block first.
        fusion: see `Config`.
        discard: see `Config`.
        as_released: see `Config`.
    """
    rolled = torch.eye(attentions[0].shape[-1], dtype=attentions[0].dtype, device=attentions[0].device)
    for attention in attentions:
        fused = _fused(attention, fusion)
        mixture = (_without_smallest(fused, discard) + torch.eye(fused.shape[-1], device=fused.device)) / 2
        sums = mixture.sum(dim=-1)
        rolled = mixture / (sums[:, None, :] if as_released else sums[:, :, None]) @ rolled
    return rolled[:, 0]


def _fused(attention: Tensor, fusion: Fusion) -> Tensor:
    """One attention (B, N, N) of all heads (B, H, N, N)."""
    if fusion == "mean":
        return attention.mean(dim=1)
    return attention.amax(dim=1) if fusion == "max" else attention.amin(dim=1)


def _without_smallest(fused: Tensor, discard: float) -> Tensor:
    """Attention (B, N, N) whose smallest entries are 0, but never the first one."""
    flat = fused.flatten(1)
    smallest = flat.topk(int(flat.shape[1] * discard), dim=1, largest=False).indices
    dropped = torch.zeros_like(flat, dtype=torch.bool).scatter(1, smallest, True)
    dropped[:, 0] = False
    return flat.masked_fill(dropped, 0).reshape(fused.shape)
