"""Ablation-CAM.

Idea: the weight of a channel is the drop of the label's logit when the channel is set to 0. No gradient is taken, so
nothing saturates.

Paper: Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free Localization (Desai,
Ramaswamy), WACV 2020.

Symbols: A_k -> channel k of the block's output; y^c -> `score`; y_k^c -> `ablated`; w_k^c -> `weight`; target layer ->
`block`.

Kept from the released code (the package grad-cam): the drop is divided by the logit itself; a negative logit therefore
inverts the sign of all weights (`relative`). ReLU on the sum over channels.

Not kept: where the block's smallest value was not exactly 0, channels were set to about -1e7 instead of 0, a value that
grew within a chunk, so that maps depended on the size of the chunks; here it is always 0. The whole network ran again
for every channel; here only the part after the block does. A logit of exactly 0 gives an empty map.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from wsol.errors import InputError
from wsol.extractor import BlockConfig, PassExtractor, beside_output_at, output_at
from wsol.method import Method
from wsol.types import ScoreMaps


class Config(BlockConfig):
    """Settings of the weights.

    Attributes:
        relative: divide the drop of the logit by the logit, as published; otherwise a negative logit does not invert
            the weights.
        chunk: number of channels that are ablated at a time, of one image after the other. Larger is faster and needs
            more memory; the maps are the same.
    """

    name: Literal["ablation_cam"] = "ablation_cam"
    relative: bool = True
    chunk: int = Field(default=32, ge=1)


def build(config: Config) -> PassExtractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B,
    K)."""
    return PassExtractor(config.block, partial(_maps, config=config), lambda channels: channels)


def _maps(method: Method, block: str, images: Tensor, labels: Tensor, config: Config) -> ScoreMaps:
    if block not in method.network.backbone.block_names:
        raise InputError(
            f"evaluation.extractor.block: ablation_cam goes on behind a whole block, and {block} is inside of one;"
            f" choose {block.partition('.')[0]}"
        )
    output, logits = output_at(method, block, images, labels)
    score = logits.gather(1, labels[:, None]).float()
    ablated = ablated_scores(method, block, images, labels, output, config.chunk)
    return ScoreMaps(ablation_cam(output.float(), score, ablated, relative=config.relative), logits.float())


def ablated_scores(method: Method, block: str, images: Tensor, labels: Tensor, output: Tensor, chunk: int) -> Tensor:
    """The label's logit (B, C) without each channel of a block's output (B, C, h, w), in chunks of channels."""
    channels, rows = output.shape[1], []
    prefix = beside_output_at(method, block, images, labels)
    with torch.no_grad():
        for index, (image, label, whole) in enumerate(zip(images, labels, output, strict=True)):
            for first in range(0, channels, chunk):
                gone = torch.arange(first, min(first + chunk, channels), device=output.device)
                parts = whole.repeat(len(gone), 1, 1, 1)
                parts[torch.arange(len(gone), device=output.device), gone] = 0
                same = label.expand(len(gone))
                beside = None if prefix is None else prefix[index].expand(len(gone), -1, -1)
                with method.network.backbone.replaced_output(block, parts, beside):
                    logits = method.activate(image.expand(len(gone), *image.shape), same).logits
                rows.append(logits.gather(1, same[:, None]).float().squeeze(1))
    return torch.cat(rows).reshape(len(images), channels)


def ablation_cam(output: Tensor, score: Tensor, ablated: Tensor, *, relative: bool) -> Tensor:
    """Maps (B, h, w).

    Args:
        output: (B, C, h, w) of the block.
        score: (B, 1) logit of the label.
        ablated: (B, C), the logit without each channel.
        relative: see `Config`.
    """
    weight = score - ablated
    if relative:
        weight = weight / score.where(score != 0, float("inf"))
    return torch.einsum("bc,bchw->bhw", weight, output).relu()
