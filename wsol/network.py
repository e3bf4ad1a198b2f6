"""The seam of backbones and heads: named blocks, taps instead of hooks, blocks that can be inserted."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsol.shared_pass import SharedPass
from wsol.types import Activations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Reentry = tuple[str, Tensor] | tuple[str, Tensor, Tensor | None]
"""A block, an output (B, c, h', w') with which the pass continues after it, and the prefix tokens beside it; see
`replaced_output`."""


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """Channels of a block's output and pixels of the image per cell of it."""

    channels: int
    stride: int


class Backbone(nn.Module):
    """A feature extractor as a sequence of named blocks.

    Args:
        blocks: name -> module, in the order of execution; a name holds no dot.
        info: name -> channels and stride of the block's output.
        name: under which methods list their published layer positions; without it, they place layers by stride.
        fast_blocks: pretrained blocks that learn at the head's rate (a published choice for some networks).
        pixel_mean: subtracted from RGB in [0, 1].
        pixel_std: divides the difference.
    """

    biased_maps = False  # see CamHead
    memory_format = torch.channels_last  # of its images, see `wsol/placement.py`

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        info: Mapping[str, BlockInfo],
        *,
        name: str = "",
        fast_blocks: Iterable[str] = (),
        pixel_mean: tuple[float, float, float] = IMAGENET_MEAN,
        pixel_std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(dict(blocks))
        self.inserted = nn.ModuleDict()
        self.info = dict(info)
        self.name = name
        self.fast_blocks = tuple(fast_blocks)
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std
        self.imagenet_classifier: tuple[Tensor, Tensor] | None = None
        """Weight (1000, C) and bias (1000,) of the pretrained classifier, for data sets with ImageNet's classes."""
        self.reason_without_classifier = ""  # why it is not kept, in words; empty where it is, or nothing is known
        self._shared: SharedPass | None = None
        self._replaced: Reentry | None = None

    @property
    def block_names(self) -> list[str]:
        """Names of the blocks in the order of execution."""
        return list(self.blocks)

    @property
    def map_names(self) -> list[str]:
        """Names of all taps that are maps (B, c, h', w')."""
        return self.block_names

    @property
    def channels(self) -> int:
        """Channels C of the features."""
        return self.info[self.block_names[-1]].channels

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the features."""
        return self.info[self.block_names[-1]].stride

    @property
    def final_blocks(self) -> list[str]:
        """Names of the blocks whose outputs are of the size of the features, in the order of execution."""
        return [name for name in self.blocks if self.info[name].stride == self.stride]

    def insert_after(self, block: str, module: nn.Module) -> None:
        """Run `module` on the output of `block` from now on. It gets its own key; no other key of the state changes.

        Raises:
            ValueError: there is no such block, or a module was inserted after it already.
        """
        self._require([block])
        if block in self.inserted:
            raise ValueError(f"a module was inserted behind {block} already")
        self.inserted[block] = module

    def replace(self, block: str, module: nn.Module, channels: int | None = None) -> None:
        """Run `module` in the place of `block`. Its output has the same size and, where given, other channels."""
        self._require([block])
        self.blocks[block] = module
        if channels is not None:
            self.info[block] = BlockInfo(channels, self.info[block].stride)

    def remove(self, *blocks: str) -> None:
        """Remove blocks with their weights, because an unused weight would stop distributed training."""
        self._require(blocks)
        for block in blocks:
            del self.blocks[block], self.info[block]

    def undecayed(self) -> list[nn.Parameter]:
        """Parameters of several dimensions that no weight decay is published for."""
        return []

    def forward(
        self, images: Tensor, taps: Iterable[str] = (), after: Reentry | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the blocks.

        Args:
            images: (B, 3, H, W) float32, normalised.
            taps: names of the blocks whose outputs (after an inserted module) are returned too.
            after: skip everything up to and including this block, and continue with this activation instead.

        Returns:
            features (B, C, h, w), and block name -> (B, c, h', w') for every tap that was passed.
        """
        taps = frozenset(taps)
        self._require_taps(taps)
        if after is not None:
            self._require([after[0]])
            return self._run(self.block_names[self.block_names.index(after[0]) + 1 :], self._enter(*after[1:]), taps)
        if self._replaced is not None:
            return self._run_with_replaced(images, taps, *self._replaced)
        shared = self._shared
        if shared is None or shared.images is not images or (torch.is_grad_enabled() and not shared.watched):
            return self._run(self.block_names, images, taps)
        if shared.outputs is None or not taps <= shared.outputs[1].keys():
            shared.outputs = self._record(images, taps | shared.taps, shared.watched)
        features, tapped = shared.outputs
        return features, {name: tapped[name] for name in taps}

    @contextmanager
    def shared_pass(self, images: Tensor, watched: Iterable[str] = (), taps: Iterable[str] = ()) -> Iterator[None]:
        """Within the block, the network's blocks run over `images` only once, however often `forward` is called, so
        that several maps can be made from one batch.

        Args:
            images: (B, 3, H, W); a pass over other images is not shared.
            watched: blocks with respect to whose outputs gradients are taken. The pass is recorded for autograd from
                the first of them on, and what comes before is constant: no parameter there gets a gradient. Without
                any, passes with gradient are not shared.
            taps: further blocks whose outputs will be used; for any others, the pass is made again.
        """
        watched, taps = frozenset(watched), frozenset(taps)
        self._require_taps(watched | taps)
        former, self._shared = self._shared, SharedPass(images, watched, watched | taps)
        try:
            yield
        finally:
            self._shared = former

    def shared_memory(self, images: Tensor) -> dict[Hashable, Any]:
        """Other values that methods compute once for a batch while a pass over it is shared; else nothing is kept."""
        shared = self._shared
        return {} if shared is None or shared.images is not images else shared.memory

    @contextmanager
    def replaced_output(self, block: str, output: Tensor, prefix: Tensor | None = None) -> Iterator[None]:
        """Within the context, the blocks continue after `block` with this output of it, whatever the images are.

        Args:
            block: name of a block.
            output: (B, c, h', w'), with an inserted module's effect already in it. Blocks before it do not run, unless
                one of them is tapped.
            prefix: (B, n, c), the prefix tokens beside the map if the backbone is a transformer; see `wsol/tokens.py`.
        """
        self._require([block])
        former, self._replaced = self._replaced, (block, output, prefix)
        try:
            yield
        finally:
            self._replaced = former

    def _record(
        self, images: Tensor, taps: frozenset[str], watched: frozenset[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        names = self.block_names
        start = next((index + 1 for index, name in enumerate(names) if name in watched), len(names))
        with torch.no_grad():
            x, before = self._run(names[:start], images, taps)
        if not watched:
            return x, before
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            features, behind = self._run(names[start:], x, taps)
        return features, {**before, names[start - 1]: x, **behind}

    def _run_with_replaced(
        self, images: Tensor, taps: frozenset[str], block: str, output: Tensor, prefix: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        places = {tap: self.block_names.index(tap.partition(".")[0]) for tap in taps | {block}}
        place = places.pop(block)
        before = frozenset(tap for tap in places if places[tap] <= place)
        last = max((places[tap] for tap in before), default=-1)
        tapped = self._run(self.block_names[: last + 1], images, before)[1] if before else {}
        features, behind = self._run(self.block_names[place + 1 :], self._enter(output, prefix), taps)
        return features, {**tapped, **({block: output} if block in taps else {}), **behind}

    def _enter(self, output: Tensor, prefix: Tensor | None = None) -> Tensor:
        """The input of the next block, from an output given from outside."""
        return output

    def _run(self, names: Iterable[str], x: Tensor, taps: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        tapped = {}
        for name in names:
            x = self.blocks[name](x)
            if name in self.inserted:
                x = self.inserted[name](x)
            if name in taps:
                tapped[name] = x
        return x, tapped

    def _require_taps(self, names: Iterable[str]) -> None:
        """Raise ValueError if there is no tap of such a name."""
        self._require(names)

    def _require(self, names: Iterable[str]) -> None:
        if unknown := [name for name in names if name not in self.blocks]:
            raise ValueError(f"this backbone has no block {', '.join(unknown)}; it has {', '.join(self.blocks)}")


class CamHead(nn.Module):
    """Global average pooling and one linear layer, whose weights make the class map (Zhou et al., CVPR 2016).

    Attributes:
        clip_negative_weights: the class map ignores evidence against the class (negative weight clamping of "Rethinking
            Class Activation Mapping for Weakly Supervised Object Localization", Bae et al., ECCV 2020). A setting of
            evaluation, off in training.
        biased_maps: the published classifier is a 1x1 convolution, whose map has the bias of its class.
    """

    clip_negative_weights = False
    biased_maps = False

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, K)."""
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits

    def class_map(self, features: Tensor, labels: Tensor) -> Tensor:
        """Map of one class per image, the mean of weight times feature over channels: no ReLU; bias if `biased_maps`.

        Args:
            features: (B, C, h, w).
            labels: (B,) int64, the asked classes.

        Returns:
            (B, h, w). Only the asked class is computed, (B, K, h, w) is never built.
        """
        weight = self.linear.weight[labels].to(features.dtype)
        if self.clip_negative_weights:
            weight = weight.clamp(min=0)
        bias = self.linear.bias[labels, None, None].to(features.dtype) if self.biased_maps else 0
        return (torch.einsum("bchw,bc->bhw", features, weight) + bias) / features.shape[1]


class Classifier(nn.Module):
    """Backbone and head.

    Attributes:
        num_classes: K, also where a method replaces the head.
    """

    def __init__(self, backbone: Backbone, head: CamHead) -> None:
        super().__init__()
        head.biased_maps |= backbone.biased_maps
        self.backbone = backbone
        self.head: nn.Module = head
        self.num_classes = head.linear.out_features

    def forward(self, images: Tensor, taps: Iterable[str] = ()) -> Activations:
        """(B, 3, H, W) -> activations, with the outputs of the blocks named in `taps`."""
        features, tapped = self.backbone(images, taps)
        return Activations(features, self.head(features), tapped)
