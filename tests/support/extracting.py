"""Extractors by name, on small networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support import small_networks
from wsol import plugins
from wsol.extractor import BlockConfig, BlockExtractor, Extractor
from wsol.method import Method

SIDE = 32
EXTRACTORS = [name for name in plugins.names("extractor") if not plugins.load("extractor", name).Config.needs_tokens]
"""For every backbone; the others have tests of their own."""
AT_BLOCKS = [name for name in EXTRACTORS if issubclass(plugins.load("extractor", name).Config, BlockConfig)]
FROM_GRADIENTS = [
    name
    for name in AT_BLOCKS
    if isinstance(plugins.build("extractor", plugins.load("extractor", name).Config()), BlockExtractor)
]
METHODS = ("cam", "acol", "spg", "adl", "tap", "crop_cam")

every_gradient = pytest.mark.parametrize("name", FROM_GRADIENTS)


def extractor(name: str, **fields: object) -> Extractor:
    plugin = plugins.load("extractor", name)
    built: Extractor = plugin.build(plugin.Config(name=name, **fields))
    return built


def make(method: str, backbone: str = "tiny") -> Method:
    """In evaluation mode."""
    return small_networks.make(method, backbone).eval()


def batch(images: int = 4, side: int = SIDE) -> tuple[Tensor, Tensor]:
    pixels = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))
    return pixels, torch.tensor([3, 0, 0, 2, 1, 1])[:images]


def normalized(maps: Tensor, side: int) -> Tensor:
    """As the recording did: bilinear, then to minimum 0 and maximum 1; a constant map is zero."""
    maps = F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1.0)
