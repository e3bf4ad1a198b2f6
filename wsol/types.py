"""The data that flows between the layers.

Letters used in every shape of this package: B images in a batch, K classes, C channels, (H, W) image or evaluation
grid, (h, w) feature map, T thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

LabelSet = tuple[Tensor, float]


@dataclass(frozen=True, slots=True)
class Batch:
    """Images with class labels, ready for a network.

    Attributes:
        images: (B, 3, H, W) float32, normalised with the backbone's pixel mean and standard deviation.
        labels: (B,) int64 in [0, K).
        image_ids: B names, as in the metadata.
        mixed_labels: (B,) int64, the second label of images that were mixed from two; None for plain images.
        mixed_weight: weight of `mixed_labels`, in [0, 1].
        targets: (B, H, W) uint8, 1 object, 0 background, 255 ignored, for the pixels of `images`; None unless the
            method trains on boxes or masks.
    """

    images: Tensor
    labels: Tensor
    image_ids: tuple[str, ...] = ()
    mixed_labels: Tensor | None = None
    mixed_weight: float = 0.0
    targets: Tensor | None = None

    def label_sets(self) -> tuple[LabelSet, ...]:
        """The labels with their weights, which sum to 1; every loss that sums over them works with label mixing."""
        if self.mixed_labels is None:
            return ((self.labels, 1.0),)
        return ((self.labels, 1.0 - self.mixed_weight), (self.mixed_labels, self.mixed_weight))


@dataclass(frozen=True, slots=True)
class Activations:
    """The activations of one pass through a network.

    Attributes:
        features: (B, C, h, w), the input of the classification head.
        logits: (B, K).
        taps: block name -> (B, c, h', w'), only the blocks that were asked for.
    """

    features: Tensor
    logits: Tensor
    taps: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class ScoreMaps:
    """Raw localisation maps of one class per image.

    Attributes:
        maps: (B, h, w) float32, any scale and sign; a higher value means more evidence for the object.
        logits: (B, K), from the same pass.
    """

    maps: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True)
class Annotation:
    """Where the object is in one image.

    Attributes:
        image_size: (W, H) in pixels of the original image; (0, 0) where unknown (mask data sets).
        boxes: (n, 4) int64, inclusive corners x0 y0 x1 y1 in pixels of the original image; n may be 0 with a mask.
        mask: (H, W) uint8 on the evaluation grid, 1 object, 0 background, 255 ignored; None for box data sets.
    """

    image_size: tuple[int, int]
    boxes: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of training. Every schedule is a pure function of it.

    Attributes:
        epoch: the running epoch, 1-based.
        epochs: how many there will be.
        step: the running step, 0-based, counted over all epochs.
        steps: how many steps there will be.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
