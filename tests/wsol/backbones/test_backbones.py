"""Published parameter groups (C = 200), and the ones of the others pinned."""

from __future__ import annotations

import pytest
import torch

from wsol.contract.found import backbone as make
from wsol.method import Method
from wsol.network import CamHead, Classifier


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    ("name", "numbers", "tensors"),
    [
        ("vgg16", (14_714_688, 4_924_616), (26, 4)),
        ("inception_v3", (8_965_856, 16_722_120), (210, 6)),
        ("resnet50", (8_543_296, 15_374_536), (129, 32)),
        ("efficientnet_lite0", (3_371_008, 256_200), (147, 2)),
    ],
)
def test_parameters_of_each_group(name: str, numbers: tuple[int, int], tensors: tuple[int, int], stride: int) -> None:
    backbone = make(name, stride=stride)
    groups = Method(Classifier(backbone, CamHead(backbone.channels, 200))).parameter_groups()
    assert [group["head"] for group in groups] == [False, True]
    assert tuple(sum(p.numel() for p in group["params"]) for group in groups) == numbers
    assert tuple(len(group["params"]) for group in groups) == tensors


@pytest.mark.parametrize("stride", [8, 16])
def test_tiny_does_not_shift_its_maps(stride: int) -> None:
    """What the first cell sees is the mirror image of what the last one sees."""
    backbone = make("tiny", stride=stride).eval()
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    features, _ = backbone(images)
    seen = [
        torch.autograd.grad(features[..., cell].sum(), images, retain_graph=True)[0].abs().sum((0, 1, 2)) > 0
        for cell in (0, -1)
    ]
    assert torch.equal(seen[0], seen[1].flip(0))
    assert 0 < seen[0].sum() < 64
