"""Few-shot learning.

Idea: the few images with boxes by which weakly supervised methods choose their settings could train a network instead.
One layer on the features says of every cell whether it is object, whatever its class, and learns that from the boxes
alone: the yardstick that a method without boxes should pass.

Paper: Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets (Choe, Oh, Chun, Lee,
Akata, Shim), TPAMI 2023, where it is called FSL; first in Evaluating Weakly Supervised Object Localization Methods
Right, CVPR 2020.

Symbols: s, the saliency -> `class_map`; m = w f + b, its logits -> `SaliencyHead.scores`; the images of each class ->
`data.fullsup_per_class`.

Kept from the released code: none was released; of the paper, the target is 1 in the boxes, all of them together, or in
the mask where there are masks only, and follows the image's crop and flip; binary cross entropy, mean over pixels; no
class reaches the map and no image of train_weaksup is used; backbone, sizes, rates and evaluation with min-max are
those of CAM. 80 % of the images of each class are trained on, and the others choose epoch, settings and score
threshold, as in the journal version; `train_share: 1`, with the last epoch, is the conference's.

Not kept: nothing that is known. Where the paper is silent, ours: the loss is taken at the pixels of the image
(`loss_at: cells`: at the cells of the map, with averaged targets); pixels that evaluation ignores count nowhere; images
count alike, so that the number of workers changes nothing; the scores begin at the share of object that images have
(`initial_share: 0.5`: at 0). What selected is not trained on in the end. A linear classifier learns from the pooled
features without changing them: logits are what they are, and the map is that of the paper. An extractor of gradients
finds none, because the classifier changes no feature.
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from wsol.data.masks import IGNORED
from wsol.method import Method
from wsol.network import CamHead, Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress


class Config(PluginConfig):
    """What is trained on, and where the loss is taken.

    Attributes:
        train_share: of each class's images of train_fullsup, rounded, at least one; the others select. 1: all, and
            nothing can be chosen.
        loss_at: the scores are enlarged to the image's pixels (`image`), or the target is averaged over the cells of
            the map (`cells`).
        initial_share: of an image that is object, which all scores say at first.
    """

    name: Literal["few_shot"] = "few_shot"
    train_share: float = Field(default=0.8, gt=0, le=1)
    loss_at: Literal["image", "cells"] = "image"
    initial_share: float = Field(default=0.4, gt=0, lt=1)

    def fullsup_share(self) -> float:
        return self.train_share


def build(config: Config, inner: Classifier) -> Method:
    """The network with a saliency beside its classifier."""
    inner.head = SaliencyHead(cast(CamHead, inner.head), config.initial_share)
    return FewShot(inner, config)


class SaliencyHead(nn.Module):
    """A 1x1 convolution to one channel, and the linear layer of a classifier that does not change the features.

    Args:
        head: gives its linear layer.
        initial_share: in (0, 1), of an image that is object.
    """

    def __init__(self, head: CamHead, initial_share: float) -> None:
        super().__init__()
        self.linear = head.linear
        self.saliency = nn.Conv2d(head.linear.in_features, 1, 1)
        nn.init.normal_(self.saliency.weight, std=0.01)
        nn.init.constant_(cast(Tensor, self.saliency.bias), math.log(initial_share / (1 - initial_share)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, K)."""
        logits: Tensor = self.linear(features.detach().mean(dim=(2, 3)))
        return logits

    def scores(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, h, w) of being object."""
        scores: Tensor = self.saliency(features)[:, 0]
        return scores

    def class_map(self, features: Tensor, labels: Tensor) -> Tensor:
        """The probability (B, h, w) of being object, whatever the class."""
        return self.scores(features).float().sigmoid()


class FewShot(Method):
    """A saliency that is trained on boxes or masks."""

    def __init__(self, network: Classifier, config: Config) -> None:
        super().__init__(network)
        self.config = config

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Cross entropy of the `saliency`, and of the `classification`, from which nothing but the classifier
        learns."""
        if batch.targets is None:
            raise ValueError("few_shot trains on boxes or masks: the batch has no targets")
        scores = cast(SaliencyHead, self.network.head).scores(activations.features)
        loss = saliency_loss(scores, batch.targets, at_image=self.config.loss_at == "image")
        return {"saliency": loss, **super().loss_terms(activations, batch, progress)}


def saliency_loss(scores: Tensor, targets: Tensor, *, at_image: bool) -> Tensor:
    """Binary cross entropy, a scalar: the mean over images of the mean over those pixels that count; 0 of an image
    where none does.

    Args:
        scores: (B, h, w), logits of being object.
        targets: (B, H, W) uint8, 1 object, 0 background, 255 ignored.
        at_image: the scores are enlarged bilinearly to (H, W); otherwise the targets are averaged over cells (h, w),
            each of which weighs as much as it has pixels that count.
    """
    scores, counted = scores.float(), (targets != IGNORED).float()
    objects = (targets == 1).float()
    if at_image:
        scores = F.interpolate(scores[:, None], size=targets.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    else:
        counted, objects = (
            F.adaptive_avg_pool2d(values, (scores.shape[1], scores.shape[2])) for values in (counted, objects)
        )
        objects = objects / counted.where(counted > 0, 1)
    losses = F.binary_cross_entropy_with_logits(scores, objects, reduction="none")
    totals = counted.sum((1, 2))
    of_images = (losses * counted).sum((1, 2)) / totals.where(totals > 0, 1)
    return torch.mean(of_images)
