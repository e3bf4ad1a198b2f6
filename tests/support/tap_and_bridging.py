"""Thresholded average pooling and Bridging the Gap on small networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.support import vectors
from wsol import plugins
from wsol.method import Method
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.schema import PluginConfig
from wsol.types import Batch, Progress

LAST = Progress(epoch=10, epochs=10, step=9, steps=10)
CAM = plugins.load("method", "cam")


def make(config: PluginConfig, backbone: str = "tiny", num_classes: int = 4, **fields: object) -> Method:
    torch.manual_seed(0)
    plugin = plugins.load("backbone", backbone)
    blocks = plugin.build(plugin.Config(**{"name": backbone, "weights": "none", **fields}))
    method: Method = plugins.load("method", config.name).build(
        config, Classifier(blocks, CamHead(blocks.channels, num_classes))
    )
    return method


def bare(weight: Tensor, bias: Tensor | None = None) -> Classifier:
    """A network of two blocks that pass their input on, so that a test feeds a method with features; in the features'
    precision."""
    classes, channels = weight.shape
    blocks = Backbone(
        {name: nn.Identity() for name in ("first", "last")},
        {name: BlockInfo(channels, 16) for name in ("first", "last")},
    )
    network = Classifier(blocks, CamHead(channels, classes)).to(weight.dtype)
    network.head.linear.weight.data = weight.clone()
    network.head.linear.bias.data = torch.zeros(classes, dtype=weight.dtype) if bias is None else bias.clone()
    return network


class Tensors(Mapping[str, Tensor]):
    """Recorded arrays as tensors, each made when it is read."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.made:
            self.made[name] = torch.from_numpy(np.asarray(self.arrays[name]))
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def arrays(path: Path) -> Mapping[str, Tensor]:
    return Tensors(vectors.load(path))


def assert_close(found: Tensor | None, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found is not None
    expected = expected.double()
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=tolerance * expected.abs().max().item())


def images(count: int = 4) -> Batch:
    return Batch(torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 4)


WEIGHT = torch.tensor([[1.0, -1.0], [-2.0, 0.0], [0.0, -1.0]])
