"""Methods on networks with random weights, the same every time."""

from __future__ import annotations

import copy
import functools

import torch
from torch import Tensor

from wsol import build, plugins
from wsol.contract.found import SMALL_SETTINGS
from wsol.method import Method
from wsol.network import Backbone, CamHead, Classifier
from wsol.schema import BackboneConfig

CLASSES = 4


def make(name: str, backbone: str | None = None) -> Method:
    """The method with its defaults, on the backbone or its usual one."""
    network = copy.deepcopy(random_network(backbone or usual_backbone(name)))
    torch.manual_seed(0)
    return build.around(plugins.load("method", name).Config(name=name), network)


def usual_backbone(method: str) -> str:
    """The smallest one that the method works on."""
    return "deit" if plugins.load("method", method).Config.needs_tokens else "tiny"


def small_config(backbone: str) -> BackboneConfig:
    """Random weights, and a small size where there are several."""
    config: BackboneConfig = plugins.load("backbone", backbone).Config(
        weights="none", **SMALL_SETTINGS.get(backbone, {})
    )
    return config


@functools.cache
def random_network(backbone: str) -> Classifier:
    """Drawing millions of weights takes longer than copying them."""
    torch.manual_seed(0)
    blocks: Backbone = plugins.build("backbone", small_config(backbone))
    return Classifier(blocks, CamHead(blocks.channels, CLASSES))


def total(losses: dict[str, Tensor]) -> Tensor:
    """The loss that a step goes down."""
    return torch.stack(list(losses.values())).sum()
