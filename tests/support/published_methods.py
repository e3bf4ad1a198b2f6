"""ACoL, SPG and ADL on small networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.types import Progress

PROGRESS = Progress(epoch=1, epochs=1, step=0, steps=1)


def bare(**channels: int) -> Classifier:
    """A network of blocks that pass their input on, so that a test feeds a method with recorded features."""
    blocks = Backbone(
        {name: nn.Identity() for name in channels}, {name: BlockInfo(count, 16) for name, count in channels.items()}
    )
    return Classifier(blocks, CamHead(blocks.channels, 5))


def leaves(vector: dict[str, np.ndarray], *names: str) -> list[Tensor]:
    return [torch.from_numpy(vector[name]).requires_grad_() for name in names]


def assert_close(found: Tensor, recorded: np.ndarray) -> None:
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
