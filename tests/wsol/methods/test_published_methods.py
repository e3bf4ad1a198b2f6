"""ACoL, SPG and ADL: their places and parameters in every network; what learns slowly in released codes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.support.published_methods import PROGRESS, bare
from wsol import build, plugins
from wsol.config import OptimConfig
from wsol.method import Method
from wsol.methods import acol, adl, crop_cam, da_wsol, spg
from wsol.network import CamHead, Classifier
from wsol.optim import build_optimizer, set_learning_rates
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


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        (crop_cam.Config(), {129: 1.0, 32: 10.0}),
        (crop_cam.Config(slow="stem_norm"), {127: 1.0, 32: 10.0, 2: 0.1}),
        (crop_cam.Config(slow="last_stage"), {127: 1.0, 5: 10.0, 29: 0.1}),
        (da_wsol.Config(), {129: 1.0, 32: 10.0}),
        (da_wsol.Config(slow="last_stage"), {159: 1.0, 2: 10.0}),
    ],
    ids=lambda value: f"{value.name}-{value.slow}" if isinstance(value, PluginConfig) else None,
)
def test_what_learns_slowly_in_released_codes(config: PluginConfig, rates: dict[int, float]) -> None:
    """Tensors of ResNet-50, and their rate over `optim.lr`. Of the last stage 5 are fast: three first convolutions and
    the classifier."""
    blocks = plugins.load("backbone", "resnet50")
    with torch.device("meta"):
        backbone = blocks.build(blocks.Config(weights="none"))
        method = build.around(config, Classifier(backbone, CamHead(backbone.channels, 200)))
    optimizer = build_optimizer(method, OptimConfig(lr=0.5, head_lr_scale=10))
    set_learning_rates(optimizer, 1, OptimConfig(lr=0.5, head_lr_scale=10))
    assert {len(group["params"]): group["lr"] / 0.5 for group in optimizer.param_groups} == rates


def test_other_networks_have_nothing_slow() -> None:
    for config in (crop_cam.Config(slow="last_stage"), da_wsol.Config(slow="last_stage")):
        method = build.around(config, bare(stem=3, layer4_0=4))
        assert not [group for group in method.parameter_groups() if group["name"] == "slow" and group["params"]]


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
