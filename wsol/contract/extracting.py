"""Extractors by name, on small networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wsol import plugins
from wsol.contract import networks
from wsol.contract.found import built, usable
from wsol.extractor import BlockConfig, BlockExtractor, Extractor
from wsol.method import Method

SIDE = 32
EXTRACTORS = [name for name in usable("extractor") if not plugins.load("extractor", name).Config.needs_tokens]
"""For every backbone; the others have tests of their own."""
AT_BLOCKS = [name for name in EXTRACTORS if issubclass(plugins.load("extractor", name).Config, BlockConfig)]
FROM_GRADIENTS = [name for name in AT_BLOCKS if isinstance(built("extractor", name), BlockExtractor)]
METHODS = ("cam", "acol", "spg", "adl", "tap", "crop_cam")

every_gradient = pytest.mark.parametrize("name", FROM_GRADIENTS)


def extractor(name: str, **fields: object) -> Extractor:
    """By name, with settings."""
    made: Extractor = built("extractor", name, **fields)
    return made


def make(method: str, backbone: str = "tiny") -> Method:
    """In evaluation mode."""
    return networks.make(method, backbone).eval()


def batch(images: int = 4, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Noise and labels."""
    pixels = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))
    return pixels, torch.tensor([3, 0, 0, 2, 1, 1])[:images]
