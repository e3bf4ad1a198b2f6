"""Class activation maps.

Idea: with global average pooling before one linear layer, the logit of a class is the mean of a map, the weighted sum
of the feature maps. That map is high where the network found evidence for the class, so a classifier localises without
ever seeing a box.

Paper: Learning Deep Features for Discriminative Localization (Zhou, Khosla, Lapedriza, Oliva, Torralba), CVPR 2016.

Symbols: f_k(x, y) -> `Activations.features`; w_k^c -> the rows of `CamHead.linear.weight`; S_c -> `Activations.logits`;
M_c -> `class_map`.

Kept from the released code (the evaluation of Choe et al., CVPR 2020): the map of the requested class, without ReLU
and, where the classifier is a linear layer, without bias, divided by the number of channels. That of Inception-v3 is a
convolution, and its map has the bias.

Not kept: nothing was left out. The loss and the map are the defaults of `Method`, so there is nothing to override here.
The variant `released` of the search spaces takes the last epoch, in single precision, and all images of ImageNet.
"""

from __future__ import annotations

from typing import Literal

from wsol.method import Method
from wsol.network import Classifier
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["cam"] = "cam"


def build(config: Config, inner: Classifier) -> Method:
    """The network, trained with cross entropy."""
    return Method(inner)
