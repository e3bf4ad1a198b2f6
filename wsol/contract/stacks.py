"""Methods and what they are stacked on, on small networks."""

from __future__ import annotations

import pytest
import torch

from wsol import plugins
from wsol.config import misfit
from wsol.contract.found import usable
from wsol.contract.networks import CLASSES, small_config, usual_backbone
from wsol.types import Batch

SIDE = 32
METHODS = usable("method")
BASES = ("cam", "has", "cutmix", "adl", "acol", "spg", "tap", "bridging_gap")
"""What others are stacked on."""

SMALL, LARGE = ("tiny", "efficientnet_lite0"), ("vgg16", "resnet50", "inception_v3")
OTHERS = tuple(
    name for name in usable("backbone") if name not in (*SMALL, *LARGE, "timm")
)  # timm's have a file of their own
EVERY_STACK = [(method, backbone) for backbone in SMALL + LARGE + OTHERS for method in METHODS]
STACKS = [
    (method, backbone)
    for method, backbone in EVERY_STACK
    if not misfit(plugins.load("method", method).Config(), small_config(backbone))
]
"""Those that work; what does not is refused."""
SLOW = {stack: pytest.param(*stack, marks=pytest.mark.slow) for stack in STACKS}
LONG_STACKS = [stack if stack[1] == usual_backbone(stack[0]) else SLOW[stack] for stack in STACKS]
"""For tests that train: full-size networks are slow."""
SHORT_STACKS = [stack if stack[1] not in LARGE or stack[0] == "cam" else SLOW[stack] for stack in STACKS]
"""For tests of a step or a map: the largest networks are slow under all methods but one."""
TINY_RATE, RATE = 0.05, 0.003
"""Learning rates; the wide networks need the small one."""

every_long_stack = pytest.mark.parametrize(("name", "backbone"), LONG_STACKS)


def make_batch(count: int = 8, side: int = SIDE) -> Batch:
    """Noise with a bright square whose place is the class, and which is the target."""
    images = 0.2 * torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    labels, targets = torch.arange(count) % CLASSES, torch.zeros(count, side, side, dtype=torch.uint8)
    for image, target, label in zip(images, targets, labels.tolist(), strict=True):
        top, left = (label // 2) * side // 2, (label % 2) * side // 2
        target[top : top + side // 2, left : left + side // 2] = 1
        image[:, top : top + side // 2, left : left + side // 2] += torch.tensor([1.0, -1.0, 0.5]).roll(label)[
            :, None, None
        ]
    return Batch(images, labels, tuple(f"image{i}" for i in range(count)), targets=targets)
