"""Thresholded average pooling and Bridging the Gap: the numbers of their published implementations, and their rules."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.support import vectors
from wsol import plugins
from wsol.config import OptimConfig
from wsol.method import Method, Wrapper
from wsol.methods import bridging_gap, tap
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.optim import build_optimizer, decay, set_learning_rates
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress

LAST = Progress(epoch=10, epochs=10, step=9, steps=10)
CAM = plugins.load("method", "cam")


def make(config: PluginConfig, backbone: str = "tiny", num_classes: int = 4, **fields: object) -> Method:
    torch.manual_seed(0)
    plugin = plugins.load("backbone", backbone)
    blocks = plugin.build(plugin.Config(**{"name": backbone, "weights": "none", **fields}))
    method: Method = plugins.load("method", config.name).build(
        config, Classifier(blocks, CamHead(blocks.channels, num_classes))
    )
    return method


def bare(weight: Tensor, bias: Tensor | None = None) -> Classifier:
    """A network of two blocks that pass their input on, so that a test feeds a method with features; in the features'
    precision."""
    classes, channels = weight.shape
    blocks = Backbone(
        {name: nn.Identity() for name in ("first", "last")},
        {name: BlockInfo(channels, 16) for name in ("first", "last")},
    )
    network = Classifier(blocks, CamHead(channels, classes)).to(weight.dtype)
    network.head.linear.weight.data = weight.clone()
    network.head.linear.bias.data = torch.zeros(classes, dtype=weight.dtype) if bias is None else bias.clone()
    return network


def arrays(path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in vectors.load(path).items()}


def assert_close(found: Tensor | None, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found is not None
    expected = expected.double()
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=tolerance * expected.abs().max().item())


def assert_difference_close(found: Tensor, expected: Tensor, values: Tensor, inside: Tensor, outside: Tensor) -> None:
    """A loss that is a difference of two means: close in parts of what is subtracted, which may be far larger."""
    parts = [
        abs(float(one[region].mean()))
        for one, *regions in zip(values, inside, outside, strict=True)
        for region in regions
        if region.any()
    ]
    assert abs(float(found.detach()) - float(expected)) <= 1e-5 * sum(parts) / len(values)


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def images(count: int = 4) -> Batch:
    return Batch(torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 4)


def gradients(method: Method, batch: Batch, progress: Progress = LAST) -> list[Tensor]:
    torch.manual_seed(3)
    parameters = list(method.parameters())
    return list(torch.autograd.grad(total(method.train()(batch, progress)), parameters))


def group_sizes(method: Method) -> list[int]:
    return [len(group["params"]) for group in method.parameter_groups()]


# --- thresholded average pooling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", vectors.files("thresholded_average_pooling"))
def test_tap_is_the_published_one(path: Path) -> None:
    """The recorded gradients are those of sum_k k * logit_k, k from 1; the recorded maps are not divided by the
    channels."""
    vector = arrays(path)
    method = tap.build(
        tap.Config(pool_threshold=float(vector["threshold"])), bare(vector["class_weight"], vector["class_bias"])
    )
    features, head = vector["feature"].requires_grad_(), method.network.head
    activations = method.activate(features, torch.zeros(len(features)))
    assert_close(activations.logits, vector["logits"])

    for clipped, name in ((False, "score_map_all_classes"), (True, "score_map_negative_weights_clamped")):
        head.clip_negative_weights = clipped
        maps = [method.class_map(activations, torch.full((len(features),), label)) for label in range(5)]
        assert_close(torch.stack(maps, dim=1) * features.shape[1], vector[name])
    assert torch.equal(head(features), activations.logits)  # clamping is not for the logits

    (activations.logits * torch.arange(1, 6)).sum().backward()
    assert_close(features.grad, vector["grad_feature_of_weighted_logit_sum"])
    assert_close(head.linear.weight.grad, vector["grad_weight_of_weighted_logit_sum"])

    head.linear.weight.data.clamp_(min=0)  # the recording's logits of clamped weights
    assert_close(head(features), vector["logits_negative_weights_clamped"])


CELLS = torch.tensor([[[[0, 1, 2], [3, 4, 10], [0.5, 1, 0]], [[0.0] * 3] * 3]], dtype=torch.float64)


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 21.5 / 7), (0.1, 4.75), (0.4, 10.0), (0.999, 10.0)])
def test_tap_averages_the_cells_strictly_above_the_threshold(threshold: float, expected: float) -> None:
    torch.testing.assert_close(
        tap.thresholded_average(CELLS, threshold), torch.tensor([[expected, 0]], dtype=torch.float64)
    )


def test_tap_gradient_is_one_over_the_count_at_the_averaged_cells() -> None:
    cells = CELLS.clone().requires_grad_()
    tap.thresholded_average(cells, 0.1).sum().backward()
    assert cells.grad is not None
    assert torch.equal(cells.grad, torch.where(CELLS >= 2, 0.25, 0.0).double())


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.999])
def test_tap_of_a_constant_channel_is_its_value(threshold: float) -> None:
    assert torch.equal(tap.thresholded_average(torch.full((1, 1, 2, 2), 3.0), threshold), torch.full((1, 1), 3.0))


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.999])
def test_tap_never_averages_a_negative_cell(threshold: float) -> None:
    features = torch.tensor([[[[-3.0, -1.0]], [[-1.0, 2.0]], [[-1.0, 0.0]]]], requires_grad=True)
    pooled = tap.thresholded_average(features, threshold)
    pooled.sum().backward()
    assert features.grad is not None
    assert pooled.tolist() == [[0, 2, 0]] and features.grad.flatten().tolist() == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_tap_threshold_is_below_one(threshold: float) -> None:
    with pytest.raises(ValidationError, match="pool_threshold"):
        tap.Config(pool_threshold=threshold)


def test_tap_keeps_the_classifier_and_every_key() -> None:
    network = bare(torch.randn(5, 8))
    before, keys = network.head.linear.weight, list(network.state_dict())
    method = tap.build(tap.Config(), network)
    assert method.network.head.linear.weight is before
    assert list(method.network.state_dict()) == keys


def test_tap_learns_as_with_a_scaled_gradient_of_the_body() -> None:
    """The published step: one rate and decay for all, the body's gradient times 0.1."""
    method = make(tap.Config()).double()
    published = copy.deepcopy(method)
    body = list(published.network.backbone.parameters())
    reference = torch.optim.SGD(published.parameters(), lr=3e-3, momentum=0.9, nesterov=True, weight_decay=5e-2)
    config = OptimConfig(lr=3e-4, head_lr_scale=10.0, weight_decay=5e-2, lr_decay_every=26)
    optimizer = build_optimizer(method, config)
    for epoch in range(1, 51):
        set_learning_rates(optimizer, epoch, config)
        reference.param_groups[0]["lr"] = 3e-3 * decay(epoch, config)
        draws = [torch.randn_like(p) for p in method.parameters()]
        for ours, theirs, gradient in zip(method.parameters(), published.parameters(), draws, strict=True):
            ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for parameter in body:
            parameter.grad *= 0.1
        optimizer.step()
        reference.step()
    for ours, theirs in zip(method.parameters(), published.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


# --- bridging the gap, recorded numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", vectors.files("bridging_alignment"))
def test_bridging_gap_is_the_published_one(path: Path) -> None:
    vector = arrays(path)
    high, low = float(vector["fg_threshold"]), float(vector["bg_threshold"])
    config = bridging_gap.Config(
        similarity_weight=0.5,
        norm_weight=0.15,
        foreground_threshold=high,
        background_ratio=low / high,
        norm_region="max" if "CUB" in path.stem else "target",
    )
    method = bridging_gap.build(config, bare(vector["class_weight"]))
    features, labels = vector["feature"].requires_grad_(), vector["labels"]
    terms = method.loss_terms(Activations(features, torch.zeros(4, 6), {}), Batch(features, labels), LAST)
    (terms["similarity"] + terms["norm"]).backward()
    weight = method.network.head.linear.weight
    level = bridging_gap.rescale(torch.linalg.vector_norm(features.detach(), dim=1))
    own = vector["cosine_similarity"][torch.arange(len(labels)), labels]
    guide = vector["cosine_similarity"].amax(1) if config.norm_region == "max" else own
    assert_difference_close(terms["similarity"] / 0.5, vector["similarity_loss"], own, level > high, level < low)
    assert_difference_close(terms["norm"] / 0.15, vector["norm_loss"], level, guide > 0, guide < 0)
    assert_close(features.grad, vector["grad_feature_of_half_sim_plus_015_norm"])
    assert_close(weight.grad, vector["grad_weight_of_half_sim_plus_015_norm"])

    directions, classes = bridging_gap.unit(features), bridging_gap.unit(weight)
    cosines = [bridging_gap.cosine(directions, classes[label].expand(4, -1)) for label in range(6)]
    assert_close(torch.stack(cosines, dim=1), vector["cosine_similarity"])
    assert_close(bridging_gap.best_cosine(directions, classes), vector["cosine_similarity"].amax(1))
    erased = bridging_gap.erase(vector["feature"], float(vector["attentive_drop_threshold"]), 1.0)
    assert torch.equal(erased, vector["attentive_drop_feature_probability_one"])


# --- bridging the gap, alignment --------------------------------------------------------------------------------------

VECTORS = torch.tensor([[3, 4], [2, 0], [0, 1], [0, 0]], dtype=torch.float32).T.reshape(1, 2, 2, 2)
WEIGHT = torch.tensor([[1.0, -1.0], [-2.0, 0.0], [0.0, -1.0]])


def alignment(
    features: Tensor, weight: Tensor = WEIGHT, region: str = "target", batch: Batch | None = None
) -> tuple[dict[str, Tensor], Method]:
    """Unweighted terms, with 0.35 as the foreground's threshold and 0.25 as the background's."""
    fields = {"foreground_threshold": 0.35, "background_ratio": 0.25 / 0.35, "norm_region": region}
    method = bridging_gap.build(bridging_gap.Config(similarity_weight=1.0, norm_weight=1.0, **fields), bare(weight))
    batch = batch or Batch(features, torch.zeros(len(features)).long())
    return method.loss_terms(Activations(features, torch.zeros(len(features), len(weight)), {}), batch, LAST), method


@pytest.mark.parametrize(("region", "norm"), [("target", 0.2), ("max", 0.6)])
def test_bridging_gap_alignment_of_four_vectors(region: str, norm: float) -> None:
    terms, method = alignment(VECTORS, region=region)
    weight = method.network.head.linear.weight
    assert terms["similarity"].item() == pytest.approx(-0.6363961, abs=1e-6)
    assert terms["norm"].item() == pytest.approx(norm, abs=1e-6)
    assert not terms["norm"].requires_grad  # the features have no gradient here, and nothing reaches the weights
    (gradient,) = torch.autograd.grad(terms["similarity"], weight)
    assert gradient[0].abs().sum() > 0 and gradient[1:].eq(0).all()


@pytest.mark.parametrize("region", ["target", "max"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_bridging_gap_constant_features_are_harmless(region: str, value: float) -> None:
    features = torch.full((1, 2, 2, 2), value, requires_grad=True)
    terms, method = alignment(features, region=region)
    total(terms).backward()
    assert terms["similarity"].item() == terms["norm"].item() == 0
    for gradient in (features.grad, method.network.head.linear.weight.grad):
        assert gradient is not None and gradient.abs().max() < 10


def test_bridging_gap_an_empty_region_counts_zero() -> None:
    values, everywhere = torch.ones(2, 3, 3), torch.ones(2, 3, 3).bool()
    assert bridging_gap.contrast(values, everywhere, ~everywhere).item() == -1
    assert bridging_gap.contrast(values, ~everywhere, everywhere).item() == 1


def test_bridging_gap_mixed_labels_weigh_the_terms_of_each_label() -> None:
    features, weight = torch.rand(3, 8, 5, 5), torch.randn(4, 8)
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 1, 0])
    mixed = Batch(features, first, mixed_labels=second, mixed_weight=0.3)
    terms, one, other = (
        alignment(features, weight, batch=batch)[0]
        for batch in (mixed, Batch(features, first), Batch(features, second))
    )
    for name in ("similarity", "norm"):
        assert_close(terms[name], 0.7 * one[name] + 0.3 * other[name])
        assert one[name] != other[name]


def test_bridging_gap_best_class_needs_no_label() -> None:
    features, weight = torch.rand(3, 8, 5, 5), torch.randn(4, 8)
    batches = [Batch(features, torch.full((3,), label)) for label in (0, 3)]
    first, second = (alignment(features, weight, "max", batch)[0]["norm"] for batch in batches)
    assert torch.equal(first, second)


def test_bridging_gap_aligns_in_float32_inside_autocast() -> None:
    features, weight = torch.rand(3, 8, 5, 5), torch.randn(4, 8)
    outside, _ = alignment(features, weight)
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = alignment(features, weight)
    assert all(torch.equal(inside[name], outside[name]) for name in ("similarity", "norm"))


# --- bridging the gap, the erased pass --------------------------------------------------------------------------------


def test_bridging_gap_erases_strictly_above_the_threshold() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[3.0, 2.0], [5.0, 6.0]]]])
    erased = bridging_gap.erase(features, 0.8, 1.0)
    assert torch.equal(erased == 0, torch.tensor([[False, False], [False, True]]).expand(1, 2, 2, 2))
    assert torch.equal(bridging_gap.erase(features, 1.0, 1.0), features)
    assert torch.equal(bridging_gap.erase(features, 0.0, 0.0), features)
    config = bridging_gap.Config(erasure_weight=2.0, erase_probability=1.0)
    method = bridging_gap.build(config, bare(WEIGHT)).train()
    terms = method.losses(Batch(features, torch.tensor([0])), LAST)
    assert terms["erasure"].item() == pytest.approx(2 * (4 + 6) / 8)


def test_bridging_gap_erases_at_its_rate_each_cell_for_itself() -> None:
    torch.manual_seed(0)
    features = torch.ones(64, 2, 16, 16)
    features[:, :, :, :8] = 0.5  # below the threshold
    erased = bridging_gap.erase(features, 0.8, 0.25)
    assert torch.equal(erased[..., :8], features[..., :8])
    assert torch.equal(erased[:, 0], erased[:, 1])
    assert set(erased[..., 8:].unique().tolist()) == {0.0, 1.0}
    assert (erased[..., 8:] == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not torch.equal(erased[0], erased[1])


def test_bridging_gap_gradient_of_the_erasure_flows_through_both_passes() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    method = bridging_gap.build(
        bridging_gap.Config(erasure_weight=1.0, erase_probability=1.0), bare(torch.ones(2, 1))
    ).train()
    method.network.backbone.blocks["last"] = nn.AvgPool2d(2)  # erased 6 / 4, else 10 / 4
    (gradient,) = torch.autograd.grad(method.losses(Batch(features, torch.tensor([0])), LAST)["erasure"], features)
    torch.testing.assert_close(gradient, torch.tensor([[[[0.0, 0.0], [0.0, 0.25]]]]))


def test_bridging_gap_batch_norm_behind_the_place_counts_both_passes() -> None:
    method = make(bridging_gap.Config()).train()
    method(images(), LAST)
    counts = {
        key.split(".")[2]: int(value)
        for key, value in method.network.state_dict().items()
        if key.endswith("num_batches_tracked")
    }
    assert counts == {"conv1": 1, "conv2": 1, "conv3": 1, "conv4": 2}


def test_bridging_gap_evaluates_as_cam() -> None:
    method, plain, batch = make(bridging_gap.Config()).eval(), make(CAM.Config()).eval(), images()
    assert list(method.state_dict()) == list(plain.state_dict())
    assert not method.activate(batch.images, batch.labels).taps
    found, expected = (one.score_maps(batch.images, batch.labels) for one in (method, plain))
    assert torch.equal(found.maps, expected.maps) and torch.equal(found.logits, expected.logits)


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
