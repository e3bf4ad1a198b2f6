"""Methods on networks with random weights, the same every time."""

from __future__ import annotations

import copy
import functools

import torch
from torch import Tensor

from wsol import build, plugins
from wsol.method import Method
from wsol.network import CamHead, Classifier

CLASSES = 4


def make(name: str, backbone: str = "tiny") -> Method:
    """The method with its defaults."""
    network = copy.deepcopy(random_network(backbone))
    torch.manual_seed(0)
    return build.around(plugins.load("method", name).Config(name=name), network)


@functools.cache
def random_network(backbone: str) -> Classifier:
    """Drawing millions of weights takes longer than copying them."""
    torch.manual_seed(0)
    plugin = plugins.load("backbone", backbone)
    blocks = plugin.build(plugin.Config(weights="none"))
    return Classifier(blocks, CamHead(blocks.channels, CLASSES))


def total(losses: dict[str, Tensor]) -> Tensor:
    """The loss that a step goes down."""
    return torch.stack(list(losses.values())).sum()
