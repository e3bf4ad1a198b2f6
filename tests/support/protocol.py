"""What several cases of the protocol need: its grid, networks and methods."""

from __future__ import annotations

from wsol import plugins
from wsol.method import Method
from wsol.network import Classifier
from wsol.schema import BackboneConfig

GRID = 224
NETWORKS = ("vgg16", "inception_v3", "resnet50")
METHODS = ("cam", "acol", "spg", "adl")


def around(network: Classifier, name: str) -> Method:
    plugin = plugins.load("method", name)
    method: Method = plugin.build(plugin.Config(), network)
    return method


def backbone_config(name: str, stride: int, weights: str = "none") -> BackboneConfig:
    config: BackboneConfig = plugins.load("backbone", name).Config(name=name, stride=stride, weights=weights)
    return config
