"""Backbones by name."""

from __future__ import annotations

from wsol import plugins
from wsol.network import Backbone


def make(name: str, **fields: object) -> Backbone:
    plugin = plugins.load("backbone", name)
    small = {"timm": {"model": "convnext_atto"}, "deit": {"size": "micro"}}.get(name, {})
    backbone: Backbone = plugin.build(plugin.Config(**{"name": name, "weights": "none", **small, **fields}))
    return backbone.eval()
