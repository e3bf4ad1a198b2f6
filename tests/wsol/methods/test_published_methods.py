"""ACoL, SPG and ADL: their places and parameters in every network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.published_methods import PROGRESS
from wsol import plugins
from wsol.method import Method
from wsol.methods import acol, adl, spg
from wsol.network import CamHead, Classifier
from wsol.schema import PluginConfig
from wsol.types import Batch

PUBLISHED = ("vgg16", "resnet50", "inception_v3")


def make(config: PluginConfig, backbone: str, num_classes: int = 4, **fields: object) -> Method:
    plugin = plugins.load("backbone", backbone)
    blocks = plugin.build(plugin.Config(**{"name": backbone, "weights": "none", **fields}))
    method: Method = plugins.load("method", config.name).build(
        config, Classifier(blocks, CamHead(blocks.channels, num_classes))
    )
    return method


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    ("config", "backbone", "numbers", "tensors"),
    [
        (acol.Config(), "vgg16", (14_714_688, 28_725_648), (26, 12)),
        (acol.Config(), "inception_v3", (8_965_856, 33_444_240), (210, 12)),
        (acol.Config(), "resnet50", (65_580_496, 14_964_736), (141, 30)),
        (spg.Config(), "vgg16", (1_735_488, 27_241_674), (14, 30)),
        (spg.Config(), "inception_v3", (8_965_856, 28_669_130), (210, 18)),
        (spg.Config(), "resnet50", (46_706_954, 14_964_736), (143, 30)),
        (adl.Config(), "vgg16", (14_714_688, 4_924_616), (26, 4)),
        (adl.Config(), "inception_v3", (8_965_856, 16_722_120), (210, 6)),
        (adl.Config(), "resnet50", (8_543_296, 15_374_536), (129, 32)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_published_parameters_of_each_group(
    config: PluginConfig, backbone: str, numbers: tuple[int, int], tensors: tuple[int, int], stride: int
) -> None:
    with torch.device("meta"):
        groups = make(config, backbone, num_classes=200, stride=stride).parameter_groups()
    assert [group["head"] for group in groups] == [False, True]
    assert tuple(sum(p.numel() for p in group["params"]) for group in groups) == numbers
    assert tuple(len(group["params"]) for group in groups) == tensors


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("backbone", PUBLISHED)
@pytest.mark.parametrize("config", [acol.Config(), spg.Config(), adl.Config()], ids=lambda config: config.name)
@torch.no_grad()
def test_maps_have_the_asked_stride(config: PluginConfig, backbone: str, stride: int) -> None:
    method = make(config, backbone, stride=stride).eval()
    assert method.score_maps(torch.randn(1, 3, 64, 96), torch.tensor([1])).maps.shape == (1, 64 // stride, 96 // stride)


@pytest.mark.parametrize(
    ("backbone", "expected_adl", "expected_spg"),
    [
        ("vgg16", ["pool3", "conv4_3", "conv5_3"], ("pool4", "conv5_3")),
        ("inception_v3", ["mixed_5d", "mixed_6e", "extra_2"], ("pool_3", "mixed_6d")),
        ("resnet50", ["layer3_0", "layer4_0", "layer4_2"], ("layer3_0", "layer3_5")),
        ("tiny", ["conv2", "conv3", "conv4"], ("conv3", "conv4")),
        ("efficientnet_lite0", ["mbconv4", "mbconv10", "top"], ("mbconv5", "mbconv11")),
    ],
)
def test_places(backbone: str, expected_adl: list[str], expected_spg: tuple[str, str]) -> None:
    with torch.device("meta"):
        assert list(make(adl.Config(), backbone).network.backbone.inserted) == expected_adl
        assert make(spg.Config(), backbone).network.head.sources == expected_spg


def test_adl_changes_no_key_and_has_no_other_dropout() -> None:
    with torch.device("meta"):
        with_layers, plain = (
            make(config, "inception_v3") for config in (adl.Config(), plugins.load("method", "cam").Config())
        )
    assert list(with_layers.state_dict()) == list(plain.state_dict())
    assert [module.p for module in with_layers.modules() if isinstance(module, nn.Dropout)] == [0.0] * 3
    assert [module.p for module in plain.modules() if isinstance(module, nn.Dropout)] == [0.5] * 3


def test_blocks_are_replaced_and_removed_with_their_weights() -> None:
    backbone = make(plugins.load("method", "cam").Config(), "vgg16").network.backbone
    backbone.replace("conv5_3", nn.Conv2d(512, 8, 1), channels=8)
    backbone.remove("conv6")
    assert backbone.channels == 8 and backbone(torch.randn(1, 3, 32, 32))[0].shape == (1, 8, 2, 2)
    assert not [key for key in backbone.state_dict() if "conv6" in key]
    with pytest.raises(ValueError, match="no block conv6"):
        backbone.replace("conv6", nn.Identity())


@pytest.mark.parametrize("config", [acol.Config(), spg.Config(), adl.Config()], ids=lambda config: config.name)
def test_a_step_in_bfloat16_is_finite(config: PluginConfig) -> None:
    method = make(config, "tiny")
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(Batch(torch.randn(4, 3, 64, 64), torch.arange(4)), PROGRESS)
        maps = method.eval().score_maps(torch.randn(2, 3, 64, 64), torch.tensor([0, 1])).maps
    torch.stack(list(losses.values())).sum().backward()
    assert maps.dtype == torch.float32 and torch.isfinite(maps).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
