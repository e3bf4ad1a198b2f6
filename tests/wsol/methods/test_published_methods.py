"""ACoL, SPG and ADL: the numbers of their published implementations, and their places in every network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.support import vectors
from wsol import plugins
from wsol.method import Method
from wsol.methods import acol, adl, spg
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress

PROGRESS = Progress(epoch=1, epochs=1, step=0, steps=1)
PUBLISHED = ("vgg16", "resnet50", "inception_v3")


def make(config: PluginConfig, backbone: str, num_classes: int = 4, **fields: object) -> Method:
    plugin = plugins.load("backbone", backbone)
    blocks = plugin.build(plugin.Config(**{"name": backbone, "weights": "none", **fields}))
    method: Method = plugins.load("method", config.name).build(
        config, Classifier(blocks, CamHead(blocks.channels, num_classes))
    )
    return method


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


# --- recorded numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", vectors.files("acol"))
def test_acol_is_the_published_one(path: Path) -> None:
    """The recording has branches of one 1x1 convolution."""
    vector = vectors.load(path)
    method = acol.build(acol.Config(erase_threshold=float(vector["erase_threshold"])), bare(features=16))
    branches = method.network.head
    for branch, name in ((branches.a, "A"), (branches.b, "B")):
        branch.hidden, branch.classifier = nn.Identity(), CamHead(16, 5)
        branch.classifier.linear.weight.data = torch.from_numpy(vector[f"classifier_{name}_weight"]).flatten(1)
        branch.classifier.linear.bias.data = torch.from_numpy(vector[f"classifier_{name}_bias"])
    (features,), labels = leaves(vector, "feature"), torch.from_numpy(vector["labels"])

    activations = method.activate(features, labels)
    losses = method.loss_terms(activations, Batch(features, labels), PROGRESS)
    torch.stack(list(losses.values())).sum().backward()
    assert_close(activations.logits, vector["logits_a"])
    assert_close(branches.b.classifier(activations.taps[acol.HIDDEN_B]), vector["logits_b"])
    assert_close(sum(losses.values(), torch.zeros(())), vector["loss"])
    assert_close(method.class_map(activations, labels), vector["cam"])
    assert_close(features.grad, vector["grad_feature"])
    assert_close(branches.b.classifier.linear.weight.grad, vector["grad_classifier_B_weight"][:, :, 0, 0])


class Channels(nn.Module):
    """Some channels of the features."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.range = slice(start, stop)

    def forward(self, features: Tensor) -> Tensor:
        return features[:, self.range]


@pytest.mark.parametrize("path", vectors.files("spg"))
def test_spg_is_the_published_one(path: Path) -> None:
    """The recording begins at the maps, so the head passes them on: the features are five class maps and C."""
    vector = vectors.load(path)
    names = [f"{source}_{side}" for source in ("attention", "b2", "fused") for side in ("high", "low")]
    config = spg.Config(
        **dict(zip(names, np.sort(vector["thresholds_high_low"], axis=1)[:, ::-1].ravel().tolist(), strict=True))
    )
    method = spg.build(config, bare(b1=1, b2=1, features=6))
    head = method.network.head
    head.sources, head.b1, head.b2, head.shared, head.fused = (
        ("b1", "b2"),
        nn.Identity(),
        nn.Identity(),
        nn.Identity(),
        Channels(5, 6),
    )
    head.linear.weight.data, head.linear.bias.data = torch.eye(5, 6), torch.zeros(5)
    scores, b1, b2, c = leaves(vector, "class_score_map", "logits_b1", "logits_b2", "logits_c")
    labels = torch.from_numpy(vector["labels"])

    features = torch.cat((scores, c), dim=1)
    activations = Activations(features, head(features), {"b1": b1, "b2": b2})
    losses = method.loss_terms(activations, Batch(torch.empty(4, 3, 224, 224), labels), PROGRESS)
    torch.stack(list(losses.values())).sum().backward()
    assert_close(sum(losses.values(), torch.zeros(())), vector["loss"])
    assert_close(spg.attention(method.class_map(activations, labels), (224, 224)).mean(), vector["attention_mean"])
    fused = sum(spg.enlarge(side, (224, 224)).sigmoid() for side in (b1, b2)) / 2
    assert_close(fused.mean(), vector["fused_attention_mean"])
    for leaf, name in ((scores, "class_score_map"), (b1, "b1"), (b2, "b2"), (c, "c")):
        assert_close(leaf.grad, vector[f"grad_{name}"])


@pytest.mark.parametrize("path", vectors.files("adl"))
def test_adl_is_the_published_one(path: Path) -> None:
    vector = vectors.load(path)
    features = torch.from_numpy(vector["feature"])
    assert_close(features.mean(1, keepdim=True).sigmoid(), vector["importance_map"])
    assert_close(adl.AttentionDropout(0.5, 0.0)(features), vector["output_when_weighting"])
    thresholds = [key.removeprefix("drop_mask_threshold_") for key in vector if key.startswith("drop_mask_threshold_")]
    assert thresholds
    for threshold in thresholds:
        dropped = adl.AttentionDropout(float(threshold), 1.0)
        assert_close(dropped(features), vector[f"output_when_dropping_threshold_{threshold}"])
        kept = vector[f"drop_mask_threshold_{threshold}"] > 0
        assert torch.equal(dropped(features) == 0, (features == 0) | ~torch.from_numpy(kept))


# --- ACoL, written cases ----------------------------------------------------------------------------------------------


def test_acol_rescales_each_map_and_a_constant_one_to_zero() -> None:
    maps = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]])
    assert torch.equal(acol.rescale(maps), torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]))


def test_acol_erases_from_the_threshold_on() -> None:
    erased = acol.erase(torch.ones(1, 2, 2, 2), torch.tensor([[[0.0, 0.5], [0.7, 1.0]]]), 0.7)
    assert torch.equal(erased, torch.tensor([[1.0, 1.0], [0.0, 0.0]]).expand(1, 2, 2, 2))


# --- SPG, written cases -----------------------------------------------------------------------------------------------

RAMP = (torch.arange(224.0 * 224) / 50175).reshape(1, 1, 224, 224)


def spots() -> Tensor:
    guide = torch.zeros(1, 1, 224, 224)
    guide[0, 0, 10, :6] = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.8, 0.5])
    return guide


@pytest.mark.parametrize(
    ("guide", "high", "low", "counts"),
    [
        (RAMP, 0.7, 0.1, (5018, 15053, 30105)),
        (spots(), 0.85, 0.05, (50170, 5, 1)),  # fewer than 30 pixels: from 0.7 * 0.9 on
        (torch.full((1, 1, 224, 224), 0.3), 0.7, 0.1, (0, 50176, 0)),
    ],
    ids=["ramp", "spots", "constant"],
)
def test_spg_counts_of_background_object_and_undecided(
    guide: Tensor, high: float, low: float, counts: tuple[int, ...]
) -> None:
    found = spg.seeds(guide, high, low)
    assert tuple(int((found == value).sum()) for value in (0, 1, 255)) == counts


def test_spg_background_overrides_object() -> None:
    assert spg.seeds(RAMP, 0.2, 0.9).eq(0).sum() == RAMP.lt(0.9).sum()


def test_spg_few_is_a_share_of_the_image() -> None:
    """30 pixels of 224x224 are 7.5 of 112x112."""
    for pixels, expected in ((7, 112 * 112), (8, 8)):
        guide = torch.full((1, 1, 112, 112), 0.75)
        guide[0, 0, 0, :pixels] = 1
        assert spg.seeds(guide, 0.9, 0.0).eq(1).sum() == expected


def test_spg_guidance_of_zero_logits_is_ln_2_and_of_nothing_decided_zero() -> None:
    logits = torch.zeros(1, 1, 224, 224, requires_grad=True)
    assert spg.guidance(logits, spg.seeds(RAMP, 0.7, 0.1)).item() == pytest.approx(np.log(2), rel=1e-6)
    loss = spg.guidance(logits, torch.full_like(RAMP, 255))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and logits.grad.eq(0).all()


def test_spg_constant_class_map_decides_nothing() -> None:
    assert spg.seeds(spg.attention(torch.full((2, 4, 4), 0.3), (32, 32)), 0.7, 0.1).eq(255).all()


def test_spg_selects_the_channel_before_it_enlarges() -> None:
    maps, labels = torch.randn(3, 5, 14, 14), torch.tensor([4, 0, 2])
    before = spg.enlarge(maps[range(3), labels][:, None], (224, 224))
    assert torch.equal(before[:, 0], spg.enlarge(maps, (224, 224))[range(3), labels])


@pytest.mark.parametrize("source", ["attention", "b2", "fused"])
def test_spg_thresholds_are_ordered(source: str) -> None:
    same = {f"{source}_high": 0.4, f"{source}_low": 0.4}
    spg.Config(**same)
    with pytest.raises(ValidationError, match=f"{source}_low"):
        spg.Config(**{**same, f"{source}_high": 0.3})
    with pytest.raises(ValidationError, match=f"above {source}_high"):
        spg.Config(**{f"{source}_high": 0.001})  # below the default of the other


# --- ADL, written cases -----------------------------------------------------------------------------------------------

SMALL = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[0.0, 3.0], [2.0, 4.0]]]])


@pytest.mark.parametrize(
    ("rate", "output", "gradient"),
    [
        (
            0.0,
            [[[0, 0.880797], [1.761594, 3.928055]], [[0, 2.642391], [1.761594, 3.928055]]],
            [[0.5, 1.0907843], [1.0907843, 1.0526648]],
        ),
        (1.0, [[[0, 1], [2, 0]], [[0, 3], [2, 0]]], [[1, 1], [1, 0]]),
    ],
    ids=["importance", "drop"],
)
def test_adl_output_and_gradient(rate: float, output: list[object], gradient: list[object]) -> None:
    features = SMALL.clone().requires_grad_()
    found = adl.AttentionDropout(0.8, rate)(features)
    found.sum().backward()
    assert_close(found[0], np.array(output))
    assert features.grad is not None
    assert_close(features.grad, np.broadcast_to(np.array(gradient), features.shape))


def test_adl_is_the_identity_in_evaluation() -> None:
    assert adl.AttentionDropout(0.8, 0.5).eval()(SMALL) is SMALL


def test_adl_hides_at_its_rate_one_draw_for_the_batch() -> None:
    torch.manual_seed(0)
    layer, features = adl.AttentionDropout(0.8, 0.25), SMALL.expand(3, -1, -1, -1)
    hidden = torch.stack([layer(features)[:, 0, 1, 1] == 0 for _ in range(2000)])
    assert torch.equal(hidden.all(1), hidden.any(1))
    assert hidden.float().mean().item() == pytest.approx(0.25, abs=0.03)


# --- their networks ---------------------------------------------------------------------------------------------------


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
