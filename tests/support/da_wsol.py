"""DA-WSOL on small networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol import build
from wsol.method import Method
from wsol.methods import da_wsol
from wsol.methods.da_wsol import DomainAdaptation
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.types import Activations, Batch, Progress

CLASSES, CHANNELS, SIDE = 4, 12, 10
EARLY, LATE = Progress(epoch=1, epochs=4, step=3, steps=16), Progress(epoch=2, epochs=4, step=4, steps=16)


def make(channels: int = CHANNELS, classes: int = CLASSES, **fields: object) -> DomainAdaptation:
    """On a backbone that does nothing: tests give the features."""
    torch.manual_seed(0)
    backbone = Backbone({"none": nn.Identity()}, {"none": BlockInfo(channels, 1)})
    method = build.around(da_wsol.Config(**{"samples": 4, **fields}), Classifier(backbone, CamHead(channels, classes)))
    assert isinstance(method, DomainAdaptation)
    return method


def make_features(count: int = 6, seed: int = 0, side: int = SIDE) -> Tensor:
    """Not negative, with a blob of one kind of cells and its edge of another."""
    random = torch.Generator().manual_seed(seed)
    kinds = 2 * torch.randn(count, 3, CHANNELS, generator=random)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    blob, part = torch.exp(-3 * (x**2 + y**2)), torch.exp(-8 * ((x - 0.4) ** 2 + y**2))
    mixed = torch.einsum("bkc,khw->bchw", kinds, torch.stack((1 - blob, blob, part)))
    return (mixed + 0.4 * torch.randn(count, CHANNELS, side, side, generator=random)).relu()


def step(
    method: Method, features: Tensor, labels: Tensor, progress: Progress = LATE, **mixed: object
) -> dict[str, Tensor]:
    """Loss terms of features."""
    torch.manual_seed(5)
    activations = Activations(features, method.network.head(features), {})
    return method.loss_terms(activations, Batch(features, labels, **mixed), progress)


def means(method: DomainAdaptation) -> Tensor:
    """Anchors (K + 1, C); zeros where nothing was seen."""
    return method.anchor_sums / method.anchor_counts.clamp(min=1)[:, None]


def qualified(clusters: Tensor, samples: int) -> Tensor:
    return ((clusters == 1).sum(1) >= samples - 1) & ((clusters == 2).sum(1) >= samples)


def looped_mmd(source: Tensor, target: Tensor) -> Tensor:
    """One pair (n, C), every distance for itself."""
    rows, count = [*source, *target], len(source)
    distances = [(a - b).square().sum() for a in rows for b in rows]
    width = (torch.stack(distances).sum() / (len(rows) ** 2 - len(rows)) / 4).detach()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([torch.exp(-(a - b).square().sum() / (width * 2**power)) for power in range(5)]).sum()

    terms = []
    for i in range(count):
        s, t, s_next, t_next = source[i], target[i], source[(i + 1) % count], target[(i + 1) % count]
        terms.append(kernel(s, s_next) + kernel(t, t_next) - kernel(s, t_next) - kernel(s_next, t))
    return torch.stack(terms).mean()
