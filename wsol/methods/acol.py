"""Adversarial complementary learning.

Idea: two branches classify the same features. The second one sees them without the cells that are high in the map of
the first one, so it has to find other parts of the object, and the larger of the two maps covers both.

Paper: Adversarial Complementary Learning for Weakly Supervised Object Localization (Zhang, Wei, Feng, Yang, Huang),
CVPR 2018.

Symbols: S -> `Activations.features`; A and B -> `Branches.a` and `Branches.b`; M^A, M^B -> the rescaled class maps;
delta (released code: acol_threshold) -> `erase_threshold`; erased S -> `erase`.

Kept from the released code (Choe et al., CVPR 2020): branches without dropout; a cell is erased in all channels where
the map, rescaled to [0, 1], is at least `erase_threshold`; no gradient passes through that decision; cells are erased
in evaluation too; the logits are those of A. The branches read the pretrained features: the extra convolutions of the
CAM networks are left out. VGG pools 3x3, also after its last convolution, and averages 3x3 before the branches (zeros
of the border counted). In ResNet the branches learn at the backbone's rate.

Not kept: a constant map gave 0 / 0 and lost the whole map of the image; here it is rescaled to 0 and the other branch
decides. Only the map of the requested class is computed; for the logits, the last 1x1 convolution comes after the
average, which gives the same number. No setting restores the lost maps, because they were not intended. The variant
`released` of the search spaces takes the last epoch, in single precision, and all images of ImageNet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal, cast

from pydantic import Field
from torch import Tensor, maximum, nn

from wsol.method import Method
from wsol.network import Backbone, CamHead, Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress

WIDTH = 1024
"""Channels inside a branch; in networks with few feature channels, twice that number."""

HIDDEN_A, HIDDEN_B = "head.a", "head.b"
"""Names under which `Activations.taps` holds the last hidden layers (B, width, h, w) of the branches; no block has a
dot in its name."""

REMOVED = {"vgg16": ("conv6",), "inception_v3": ("extra_1", "extra_2")}
SLOW_HEADS = ("resnet50",)


class Config(PluginConfig):
    """Settings of the erasing.

    Attributes:
        erase_threshold: delta in [0, 1]: cells whose rescaled map of branch A is at least this are hidden from branch
            B.
    """

    name: Literal["acol"] = "acol"
    erase_threshold: float = Field(default=0.7, ge=0, le=1)

    def reason_against_tokens(self) -> str:
        return "its branches read a finer map than one of 16 pixels a cell, and all blocks have this one"


def build(config: Config, inner: Classifier) -> Method:
    """The method, with two branches in place of the head."""
    _change_body(inner.backbone)
    inner.head = Branches(inner.backbone.channels, inner.num_classes)
    _initialise(inner.head, _he if inner.backbone.name == "resnet50" else nn.init.xavier_uniform_)
    return ACoL(inner, config)


class ACoL(Method):
    """Two classifiers, the second on the cells that the first one leaves."""

    def __init__(self, network: Classifier, config: Config) -> None:
        super().__init__(network)
        self.config = config
        self.slow_head = network.backbone.name in SLOW_HEADS

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        """Run both branches. Cells are erased by the map of the labels; the logits are those of the first branch."""
        branches = self._branches()
        features, tapped = self.network.backbone(images, taps)
        a = branches.a.hidden(features)
        attention = rescale(branches.a.classifier.class_map(a, labels).detach())
        b = branches.b.hidden(erase(features, attention, self.config.erase_threshold))
        return Activations(features, branches.a.classifier(a), {**tapped, HIDDEN_A: a, HIDDEN_B: b})

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Cross entropy of both branches, `classification` and `erased_classification`."""
        logits = self._branches().b.classifier(activations.taps[HIDDEN_B])
        erased = super().loss_terms(replace(activations, logits=logits), batch, progress)
        return {**super().loss_terms(activations, batch, progress), "erased_classification": erased["classification"]}

    def class_map(self, activations: Activations, labels: Tensor) -> Tensor:
        """The larger of both branches' maps (B, h, w), each rescaled to [0, 1]."""
        branches = self._branches()
        a = branches.a.classifier.class_map(activations.taps[HIDDEN_A], labels)
        b = branches.b.classifier.class_map(activations.taps[HIDDEN_B], labels)
        return maximum(rescale(a), rescale(b))

    def _branches(self) -> Branches:
        return cast(Branches, self.network.head)


class Branch(nn.Module):
    """Two convolutions, and the classifier as an average and a linear layer."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        width = min(WIDTH, 2 * channels)
        conv_1, conv_2 = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.hidden = nn.Sequential(
            OrderedDict(conv_1=conv_1, relu_1=nn.ReLU(inplace=True), conv_2=conv_2, relu_2=nn.ReLU(inplace=True))
        )
        self.classifier = CamHead(width, num_classes)


class Branches(nn.Module):
    """The head: A sees the features, B sees them erased."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.a = Branch(channels, num_classes)
        self.b = Branch(channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, K) of the first branch, which need no labels."""
        logits: Tensor = self.a.classifier(self.a.hidden(features))
        return logits


def rescale(maps: Tensor) -> Tensor:
    """Every map (..., h, w) to minimum 0 and maximum 1 in float32; a constant one to 0."""
    maps = maps.float()
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    span = high - low
    return (maps - low) / span.where(span > 0, 1.0)


def erase(features: Tensor, attention: Tensor, threshold: float) -> Tensor:
    """Zero the cells (of features (B, C, h, w), in all channels) whose attention (B, h, w) is at least the
    threshold."""
    return features.masked_fill((attention >= threshold)[:, None], 0)


def _change_body(backbone: Backbone) -> None:
    backbone.remove(*REMOVED.get(backbone.name, ()))
    if backbone.name == "vgg16":
        for group in range(1, 5):
            stride = backbone.info[f"pool{group}"].stride // backbone.info[f"conv{group}_1"].stride
            backbone.replace(f"pool{group}", nn.MaxPool2d(3, stride, padding=1))
        backbone.insert_after("conv5_3", nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.AvgPool2d(3, 1, padding=1)))


def _initialise(head: nn.Module, weight: Callable[[Tensor], Tensor]) -> None:
    for parameter in head.parameters():
        (weight if parameter.ndim > 1 else nn.init.zeros_)(parameter)


def _he(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
