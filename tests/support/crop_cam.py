"""CropCAM around small methods."""

from __future__ import annotations

import torch

from wsol import build, plugins
from wsol.method import Method
from wsol.methods import crop_cam
from wsol.network import CamHead, Classifier
from wsol.types import Batch

CLASSES, SIDE = 4, 32


def make(batch_norm: bool = True, **fields: object) -> Method:
    torch.manual_seed(0)
    plugin = plugins.load("backbone", "tiny")
    backbone = plugin.build(plugin.Config(width=8, batch_norm=batch_norm))
    return build.around(crop_cam.Config(**fields), Classifier(backbone, CamHead(backbone.channels, CLASSES)))


def make_batch(count: int = 8, seed: int = 1) -> Batch:
    """Noise with a bright square whose place is the class."""
    images = 0.2 * torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = (label // 2) * SIDE // 2, (label % 2) * SIDE // 2
        image[:, top + 4 : top + 12, left + 4 : left + 12] += torch.tensor([1.0, -1.0, 0.5]).roll(label)[:, None, None]
    return Batch(images, labels)
