"""Normalizers by name."""

import torch

from wsol import plugins
from wsol.normalizers.min_max import min_max


def build(name, **values):
    plugin = plugins.load("normalizer", name)
    return plugin.build(plugin.Config(**values))


def quantised(score_map):
    return (min_max(torch.from_numpy(score_map)[None]) * 255).int().numpy()
