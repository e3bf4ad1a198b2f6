"""Bridging the Gap: the whole step, and its places in every network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.support.tap_and_bridging import CAM, LAST, WEIGHT, bare, images, make
from wsol.contract.networks import total
from wsol.method import Method, Wrapper
from wsol.methods import bridging_gap, tap
from wsol.schema import PluginConfig
from wsol.types import Batch, Progress


def gradients(method: Method, batch: Batch, progress: Progress = LAST) -> list[Tensor]:
    torch.manual_seed(3)
    parameters = list(method.parameters())
    return list(torch.autograd.grad(total(method.train()(batch, progress)), parameters))


def group_sizes(method: Method) -> list[int]:
    return [len(group["params"]) for group in method.parameter_groups()]


# --- bridging the gap, the whole step ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "epochs", "last_warm"),
    [(0.286, 70, 20), (14 / 30, 30, 14), (0.0, 5, 0), (1.0, 5, 5), (0.1, 3, 0), (0.286, 2, 1)],
)
def test_bridging_gap_warm_up_ends_with_a_whole_epoch(fraction: float, epochs: int, last_warm: int) -> None:
    method = bridging_gap.build(bridging_gap.Config(warmup_fraction=fraction), bare(WEIGHT)).train()
    batch = Batch(torch.rand(2, 2, 4, 4), torch.tensor([0, 1]))
    aligned = [
        epoch
        for epoch in range(1, epochs + 1)
        if "similarity" in method(batch, Progress(epoch, epochs, epoch - 1, epochs))
    ]
    assert aligned == list(range(last_warm + 1, epochs + 1))
    assert all("erasure" in method(batch, Progress(epoch, epochs, epoch - 1, epochs)) for epoch in (1, epochs))


def test_bridging_gap_in_the_warm_up_has_the_gradient_without_alignment() -> None:
    batch = images()
    warm = gradients(make(bridging_gap.Config(warmup_fraction=1.0)), batch)
    without = gradients(make(bridging_gap.Config(warmup_fraction=0.0, similarity_weight=0.0, norm_weight=0.0)), batch)
    after = gradients(make(bridging_gap.Config(warmup_fraction=0.0)), batch)
    assert all(torch.allclose(one, other) for one, other in zip(warm, without, strict=True))
    assert not all(torch.allclose(one, other) for one, other in zip(warm, after, strict=True))


def test_bridging_gap_without_weights_is_cam() -> None:
    batch = images()
    off = make(bridging_gap.Config(erasure_weight=0.0, similarity_weight=0.0, norm_weight=0.0))
    plain = make(CAM.Config())
    assert all(
        torch.equal(one, other) for one, other in zip(gradients(off, batch), gradients(plain, batch), strict=True)
    )
    assert all(
        torch.equal(value, plain.state_dict()[key]) for key, value in off.state_dict().items()
    )  # batch norm's statistics too


@pytest.mark.parametrize("region", ["target", "max"])
def test_bridging_gap_of_a_batch_is_the_mean_of_its_shards(region: str) -> None:
    """So two workers have the loss of one, where batch norm and the draws are out of the way."""
    method = make(bridging_gap.Config(norm_region=region, erase_probability=1.0), batch_norm=False).train()
    batch = images(8)
    whole = method(batch, LAST)
    shards = [method(Batch(batch.images[rank::2], batch.labels[rank::2]), LAST) for rank in range(2)]
    assert set(whole) == {"classification", "erasure", "similarity", "norm"}
    for name, value in whole.items():
        torch.testing.assert_close(value, (shards[0][name] + shards[1][name]) / 2)


def test_bridging_gap_inside_a_wrapper_is_itself() -> None:
    batch, config = images(), bridging_gap.Config()
    inside, alone = gradients(Wrapper(make(config)), batch), gradients(make(config), batch)
    assert all(torch.equal(one, other) for one, other in zip(inside, alone, strict=True))


@pytest.mark.parametrize("config", [tap.Config(), bridging_gap.Config()], ids=lambda config: config.name)
def test_a_step_in_bfloat16_is_finite(config: PluginConfig) -> None:
    method = make(config)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(images(), LAST)
        maps = method.eval().score_maps(images().images, images().labels).maps
    total(losses).backward()
    assert maps.dtype == torch.float32 and torch.isfinite(maps).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.mark.parametrize("config", [tap.Config(), bridging_gap.Config()], ids=lambda config: config.name)
def test_a_dead_network_has_a_finite_step(config: PluginConfig) -> None:
    method = make(config, batch_norm=False).train()
    for parameter in method.network.backbone.parameters():
        nn.init.zeros_(parameter)
    losses = method(images(), LAST)
    total(losses).backward()
    assert losses["classification"].item() == pytest.approx(math.log(4), rel=0.05)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())


# --- their places in every network ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "stride", "expected"),
    [
        ("vgg16", 8, "conv4_3"),
        ("vgg16", 16, "conv4_3"),
        ("resnet50", 8, "layer4_0"),
        ("resnet50", 16, "layer4_0"),
        ("inception_v3", 16, "mixed_6c"),
        ("efficientnet_lite0", 16, "mbconv10"),
        ("tiny", 8, "conv3"),
        ("tiny", 16, "conv3"),
    ],
)
def test_bridging_gap_place(backbone: str, stride: int, expected: str) -> None:
    with torch.device("meta"):
        assert make(bridging_gap.Config(), backbone, stride=stride).place == expected


@pytest.mark.parametrize("config", [tap.Config(), bridging_gap.Config()], ids=lambda config: config.name)
@pytest.mark.parametrize(
    ("backbone", "expected"),
    [("vgg16", [26, 4]), ("resnet50", [159, 2]), ("inception_v3", [210, 6]), ("tiny", [12, 2])],
)
def test_the_pretrained_body_learns_slowly(config: PluginConfig, backbone: str, expected: list[int]) -> None:
    with torch.device("meta"):
        assert group_sizes(make(config, backbone)) == expected
