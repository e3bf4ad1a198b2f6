"""The seam of methods. A method owns the network, the loss and the map; the loop around it lives in `wsol/training.py`.

Distributed training wraps the method itself, so `forward` is the whole step:

    forward(batch, progress) -> {term: scalar}        = losses(augment(batch), progress)
    losses                                            = loss_terms(activate(images, labels), batch, progress)
    score_maps(images, labels) -> ScoreMaps           = class_map(activate(images, labels), labels), without gradient

The defaults below *are* CAM. A method overrides what it changes, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NotRequired, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsol.network import Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress, ScoreMaps


class ParameterGroup(TypedDict):
    """Parameters that learn at the same rate: lr, or lr times `head_lr_scale` if `head` is True; each times `rate`.

    With `scaled_decay`, the weight decay is multiplied by `head_lr_scale`, as published for a body whose gradient was
    scaled down but its decay was not.
    """

    name: str
    params: list[nn.Parameter]
    head: bool
    scaled_decay: NotRequired[bool]
    rate: NotRequired[float]


class Method(nn.Module):
    """A way to train a classifier so that it localises.

    Args:
        network: backbone and head; a method with a head of its own replaces `network.head`.
    """

    slow_head = False
    """Whether the head learns at the backbone's rate, as published for heads that the released optimizer did not find
    by their names."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """One training step.

        Args:
            batch: plain images, as the loader gives them.
            progress: how far training is.

        Returns:
            name -> scalar with gradient, already weighted; their sum is minimised.
        """
        return self.losses(self.augment(batch), progress)

    def augment(self, batch: Batch) -> Batch:
        """Change the images or labels of a training batch; returns a new batch with the same number and size of
        images."""
        return batch

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Loss terms of an augmented batch, as `forward` returns them."""
        return self.loss_terms(self.activate(batch.images, batch.labels), batch, progress)

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        """Run the network.

        Args:
            images: (B, 3, H, W) float32, normalised.
            labels: (B,) int64, the classes the maps are for (some methods erase by class).
            taps: names of the blocks whose outputs are returned too.

        Returns:
            features (B, C, h, w), logits (B, K), and an entry (B, c, h', w') for every tap, with gradient; a method may
            add entries of its own under names with a dot.
        """
        activations: Activations = self.network(images, taps)
        return activations

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Loss terms of activations: cross entropy, summed over the label sets of the batch.

        Args:
            activations: what `activate` returned for the images and labels of the batch.
            batch: the batch after `augment`.
            progress: how far training is.

        Returns:
            name -> scalar with gradient, already weighted.
        """
        terms = [weight * F.cross_entropy(activations.logits, labels) for labels, weight in batch.label_sets()]
        return {"classification": torch.stack(terms).sum()}

    def class_map(self, activations: Activations, labels: Tensor) -> Tensor:
        """The map of one class per image, with gradient.

        Args:
            activations: what `activate` returned.
            labels: (B,) int64 in [0, K), the classes that the maps are for.

        Returns:
            (B, h, w), raw: any scale and sign, a higher value means more evidence.
        """
        head = self.network.head
        class_map: Tensor = head.class_map(activations.features, labels)  # type: ignore[operator]
        return class_map

    @torch.no_grad()
    def score_maps(self, images: Tensor, labels: Tensor) -> ScoreMaps:
        """The raw maps that are evaluated, without gradient.

        Args:
            images: (B, 3, H, W) float32, normalised.
            labels: (B,) int64 in [0, K), the classes that the maps are for.

        Returns:
            raw maps (B, h, w) and the logits (B, K) of the same pass, both float32.
        """
        activations = self.activate(images, labels)
        return ScoreMaps(self.class_map(activations, labels).float(), activations.logits.float())

    @torch.no_grad()
    def further_maps(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Further maps of an image that are worth showing beside the scored one; most methods have none.

        Args:
            images: (B, 3, H, W) float32, normalised.
            labels: (B,) int64 in [0, K), the classes that the maps are for.

        Returns:
            name -> (B, h, w), raw: any scale and sign; each is shown from its lowest to its highest value.
        """
        return {}

    def varied(self, config: PluginConfig) -> Method | None:
        """This method on the same network with other settings that change no weight, so that several are evaluated in
        one pass; None if the method must be built anew for that."""
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Two groups: the backbone; and everything else, with the blocks that the backbone names as fast."""
        slow = {id(p) for p in self._slow_parameters()}
        trainable = [p for p in self.parameters() if p.requires_grad]
        return [
            {"name": "backbone", "params": [p for p in trainable if id(p) in slow], "head": False},
            {"name": "head", "params": [p for p in trainable if id(p) not in slow], "head": True},
        ]

    def _slow_parameters(self) -> Iterator[nn.Parameter]:
        backbone = self.network.backbone
        for name, block in backbone.blocks.items():
            if name not in backbone.fast_blocks:
                yield from block.parameters()
        if self.slow_head:
            yield from self.network.head.parameters()


class Wrapper(Method):
    """A method around another one: every member is delegated to `base`, and a wrapper overrides what it changes.

    `forward` and `losses` are not delegated but composed anew from the wrapper's own members, so a wrapper that only
    adds to `loss_terms` is complete.
    """

    def __init__(self, base: Method) -> None:
        nn.Module.__init__(self)
        self.base = base

    @property
    def network(self) -> Classifier:  # type: ignore[override]
        """The network of `base`; registered there once, so that no weight appears twice in the state dict."""
        return self.base.network

    def augment(self, batch: Batch) -> Batch:
        return self.base.augment(batch)

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        return self.base.activate(images, labels, taps)

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return self.base.loss_terms(activations, batch, progress)

    def class_map(self, activations: Activations, labels: Tensor) -> Tensor:
        return self.base.class_map(activations, labels)

    def score_maps(self, images: Tensor, labels: Tensor) -> ScoreMaps:
        return self.base.score_maps(images, labels)

    def further_maps(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return self.base.further_maps(images, labels)

    def parameter_groups(self) -> list[ParameterGroup]:
        return self.base.parameter_groups()
