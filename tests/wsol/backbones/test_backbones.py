"""Every backbone: shapes, strides, configuration, parameter groups."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from tests.support.backbones import make
from wsol import plugins
from wsol.method import Method
from wsol.network import CamHead, Classifier

NAMES = plugins.names("backbone")


def strides(name: str) -> list[int]:
    return list(plugins.load("backbone", name).Config.model_fields["stride"].annotation.__args__)


# --- every backbone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "stride"), [(name, stride) for name in NAMES for stride in strides(name)])
@torch.no_grad()
def test_info_says_the_channels_and_stride_of_every_block(name: str, stride: int) -> None:
    backbone = make(name, stride=stride)
    features, taps = backbone(torch.randn(1, 3, 64, 96), backbone.block_names)
    assert list(backbone.info) == backbone.block_names == list(taps)
    for block, info in backbone.info.items():
        assert taps[block].shape[1] == info.channels
        # Inception's stem has a convolution without padding, which costs two cells
        assert all(
            abs(cells - side / info.stride) <= 2 for cells, side in zip(taps[block].shape[2:], (64, 96), strict=True)
        ), block
    assert features.shape == (1, backbone.channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_change_their_input(name: str) -> None:
    backbone, x = make(name), torch.randn(1, 3, 64, 64)
    for block in backbone.blocks.values():
        before = x.clone()
        after = block(x)
        assert torch.equal(x, before)
        x = after.detach()


@pytest.mark.parametrize("name", NAMES)
def test_config_is_closed(name: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        plugins.load("backbone", name).Config(name=name, unknown=1)
    with pytest.raises(ValidationError, match="stride"):
        plugins.load("backbone", name).Config(name=name, stride=4)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tiny"])
def test_weights_none_needs_no_file_and_is_seeded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", None)
    torch.manual_seed(3)
    first = make(name).state_dict()
    torch.manual_seed(3)
    second = make(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


# --- published parameter groups (C = 200), and the ones of the others pinned ------------------------------------------


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
