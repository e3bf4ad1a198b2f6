"""Bridging the gap between classification and localization.

Idea: the class map is the product of a feature vector's norm and its cosine similarity with the class vector. The norm
covers the object, the similarity only its most discriminative part. So the network learns to align similarity with norm
and norm with similarity, and to find the same features when its strongest cells are erased.

Paper: Bridging the Gap between Classification and Localization for Weakly Supervised Object Localization (Kim, Kim,
Lee, Kim, Yoon), CVPR 2022.

Symbols: norm map F-hat -> `level`; similarity map S -> `cosine`; lambda_drop, lambda_sim, lambda_norm (released code:
loss_ratio_*) -> `erasure_weight`, `similarity_weight`, `norm_weight`; tau_fg (sim_fg_thres) -> `foreground_threshold`;
tau_bg / tau_fg -> `background_ratio`; gamma (drop_threshold), p (drop_prob) -> `erase_threshold`, `erase_probability`;
warm_epochs / epochs -> `warmup_fraction`.

Kept from the released code: a cell is erased in all channels, each cell of each image is drawn independently, and the
remaining cells are not scaled up; the erased activation runs through the same layers a second time, where batch norm
uses the statistics of that pass and also adds them to its running ones; gradients flow through both passes, and through
minimum and maximum of the norm map, but not through the choice of cells; an empty region counts as 0; only the two
alignments wait for the end of the warm-up, the erasing does not. The classifier and the map are those of CAM. In ResNet
only the classifier learns at the head's rate. The foreground for the norm loss comes from the similarity with the
label's class on ImageNet, and with any class on CUB.

Not kept: the erased pass ran in evaluation too, where nothing uses it; the similarities of all classes were computed
where the label's are enough; a feature vector of zeros had a derivative of 1e12, which its ReLU removed, and a constant
norm map had one of 1e15. None of it changes a number of a published run. Not available as settings: batches of 32 for
VGG-16 until the end of the warm-up (a run has one batch size), and for ResNet-50 on CUB taking only every fifth epoch,
and those from the first decay on, as candidates for the best one. The variant `released` of the search spaces has the
200 score thresholds of the released code, scores all images of train_fullsup, and has single precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from wsol.method import Method
from wsol.network import Backbone, CamHead, Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress

PLACES = {"vgg16": "conv4_3", "resnet50": "layer4_0"}
"""Backbone -> the block whose output is erased."""

FAST_BLOCKS: dict[str, tuple[str, ...]] = {"resnet50": ()}
"""Backbone -> the blocks that learn at the head's rate, if they differ from those that the backbone names."""

ERASED = "erased.features"
"""Name under which `Activations.taps` holds the features (B, C, h, w) of the erased pass, only in training; no block
has a dot in its name."""

SMALLEST_DIVISOR = 1e-12


class Config(PluginConfig):
    """Settings of erasing and alignment; the defaults are those published for CUB with ResNet-50.

    Attributes:
        erasure_weight: lambda_drop, weight of the distance between features and erased features; at 0, nothing is
            erased.
        similarity_weight: lambda_sim, weight of the loss that aligns similarity with norm.
        norm_weight: lambda_norm, weight of the loss that aligns norm with similarity.
        foreground_threshold: tau_fg in [0, 1]: cells whose rescaled norm is above it are foreground for the similarity
            loss.
        background_ratio: cells whose rescaled norm is below this share (in [0, 1]) of `foreground_threshold` are
            background.
        norm_region: the similarity that makes a cell foreground for the norm loss: that with the label's class
            (`target`, published for ImageNet) or with the best class (`max`, published for CUB).
        erase_threshold: gamma in [0, 1], in units of an image's largest attention: cells above it may be erased.
        erase_probability: probability that such a cell is erased.
        warmup_fraction: share of the epochs, rounded to whole ones, before the two alignments begin.
    """

    name: Literal["bridging_gap"] = "bridging_gap"
    erasure_weight: float = Field(default=2.0, ge=0)
    similarity_weight: float = Field(default=0.5, ge=0)
    norm_weight: float = Field(default=0.05, ge=0)
    foreground_threshold: float = Field(default=0.4, ge=0, le=1)
    background_ratio: float = Field(default=0.5, ge=0, le=1)
    norm_region: Literal["target", "max"] = "max"
    erase_threshold: float = Field(default=0.8, ge=0, le=1)
    erase_probability: float = Field(default=0.25, ge=0, le=1)
    warmup_fraction: float = Field(default=0.286, ge=0, le=1)

    def reason_against_tokens(self) -> str:
        return "it takes long feature vectors for evidence, which holds where no feature is negative"


def build(config: Config, inner: Classifier) -> Method:
    """CAM with three more losses; network and map are CAM's."""
    backbone = inner.backbone
    backbone.fast_blocks = FAST_BLOCKS.get(backbone.name, backbone.fast_blocks)
    return BridgingGap(inner, config)


class BridgingGap(Method):
    """CAM whose feature vectors agree in norm and direction."""

    def __init__(self, network: Classifier, config: Config) -> None:
        super().__init__(network)
        self.config = config
        self.place = place(network.backbone)

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        """Run the network; in training also the erased pass, drawn with torch's global generator, whose features are a
        tap."""
        if not self.training or self.config.erasure_weight == 0:
            return super().activate(images, labels, taps)
        activations = super().activate(images, labels, {*taps, self.place})
        left = erase(activations.taps[self.place], self.config.erase_threshold, self.config.erase_probability)
        # A pass of its own: in one batch with the other features batch norm would normalise both together.
        erased, _ = self.network.backbone(images, after=(self.place, left))
        return replace(activations, taps={**activations.taps, ERASED: erased})

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """`classification`, the distance of the erased pass as `erasure`, and, after the warm-up, both alignments,
        `similarity` and `norm`."""
        terms, features = super().loss_terms(activations, batch, progress), activations.features.float()
        if ERASED in activations.taps:
            terms["erasure"] = self.config.erasure_weight * F.l1_loss(activations.taps[ERASED].float(), features)
        if progress.epoch > round(self.config.warmup_fraction * progress.epochs):
            with torch.autocast(features.device.type, enabled=False):
                terms.update(self._alignment(features, batch))
        return terms

    @torch.no_grad()
    def further_maps(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The factors of the class map, as the paper's first figure shows them: `norm`, the norms of the feature
        vectors, and `similarity`, their cosines with the label's vector, in [-1, 1]; both (B, h, w)."""
        features = self.activate(images, labels).features.float()
        classes = unit(cast(CamHead, self.network.head).linear.weight.float())
        similarity = cosine(unit(features), classes[labels])
        return {"norm": torch.linalg.vector_norm(features, dim=1), "similarity": similarity}

    def _alignment(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        config, directions = self.config, unit(features)
        classes = unit(cast(CamHead, self.network.head).linear.weight)
        level, high = rescale(torch.linalg.vector_norm(features, dim=1)), config.foreground_threshold
        cosines = [(cosine(directions, classes[labels]), share) for labels, share in batch.label_sets()]
        guides = [(best_cosine(directions, classes), 1.0)] if config.norm_region == "max" else cosines
        similarity = [
            share * contrast(values, level > high, level < config.background_ratio * high) for values, share in cosines
        ]
        norm = [share * contrast(level, values > 0, values < 0) for values, share in guides]
        return {
            "similarity": config.similarity_weight * torch.stack(similarity).sum(),
            "norm": config.norm_weight * torch.stack(norm).sum(),
        }


def place(backbone: Backbone) -> str:
    """The published block; in other networks, the middle one of the blocks of the final size, with a block after it."""
    if backbone.name in PLACES:
        return PLACES[backbone.name]
    return backbone.block_names[-1 - max(len(backbone.final_blocks) // 2, 1)]


def erase(features: Tensor, threshold: float, probability: float) -> Tensor:
    """Zero some of the cells (of features (B, C, h, w), in all channels) whose mean over channels is above `threshold`
    times its maximum."""
    attention = features.detach().mean(dim=1, keepdim=True, dtype=torch.float32)
    strong = attention > threshold * attention.amax(dim=(2, 3), keepdim=True)
    return features.masked_fill(strong & (torch.rand_like(attention) < probability), 0)


def rescale(norms: Tensor) -> Tensor:
    """Every map (B, h, w) to minimum 0 and maximum 1, with the gradient of both; a constant one to 0."""
    above = norms - norms.amin(dim=(1, 2), keepdim=True)
    return above / _divisor(above.amax(dim=(1, 2), keepdim=True))


def unit(vectors: Tensor) -> Tensor:
    """Vectors (N, C, ...) of length 1 along C; a vector of zeros stays zero."""
    return vectors / _divisor(torch.linalg.vector_norm(vectors, dim=1, keepdim=True))


def cosine(directions: Tensor, classes: Tensor) -> Tensor:
    """Cosines (B, h, w) in [-1, 1] of unit feature vectors (B, C, h, w) with the unit class vector (B, C) of each
    image."""
    return torch.einsum("bchw,bc->bhw", directions, classes)


@torch.no_grad()
def best_cosine(directions: Tensor, classes: Tensor) -> Tensor:
    """The largest cosine (B, h, w) of unit feature vectors (B, C, h, w) with any of the unit class vectors (K, C)."""
    return torch.einsum("bchw,kc->bkhw", directions, classes).amax(dim=1)


def contrast(values: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Mean over images, a scalar, of the mean outside less the mean inside.

    Args:
        values: (B, h, w) floats.
        inside: (B, h, w) bool; the mean over an empty region counts as 0.
        outside: (B, h, w) bool, likewise.
    """
    return (_region_mean(values, outside) - _region_mean(values, inside)).mean()


def _region_mean(values: Tensor, region: Tensor) -> Tensor:
    return (values * region).sum(dim=(1, 2)) / region.sum(dim=(1, 2)).clamp(min=1)


def _divisor(values: Tensor) -> Tensor:
    return values.where(values > SMALLEST_DIVISOR, 1.0)
