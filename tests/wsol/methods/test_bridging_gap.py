"""Bridging the Gap: the numbers of its published implementation, the alignment, the erased pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support import vectors
from tests.support.tap_and_bridging import CAM, LAST, WEIGHT, arrays, assert_close, bare, images, make
from wsol.contract.networks import total
from wsol.method import Method, Wrapper
from wsol.methods import bridging_gap
from wsol.types import Activations, Batch


def assert_difference_close(found: Tensor, expected: Tensor, values: Tensor, inside: Tensor, outside: Tensor) -> None:
    """A loss that is a difference of two means: close in parts of what is subtracted, which may be far larger."""
    parts = [
        abs(float(one[region].mean()))
        for one, *regions in zip(values, inside, outside, strict=True)
        for region in regions
        if region.any()
    ]
    assert abs(float(found.detach()) - float(expected)) <= 1e-5 * sum(parts) / len(values)


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


@pytest.mark.parametrize("path", vectors.files("bridging_alignment"))
def test_norm_and_similarity_are_shown_as_recorded_and_make_the_class_map(path: Path) -> None:
    """A wrapper shows them too."""
    vector = arrays(path)
    method = bridging_gap.build(bridging_gap.Config(), bare(vector["class_weight"])).eval()
    features, labels = vector["feature"], vector["labels"]
    maps = method.further_maps(features, labels)
    assert list(maps) == ["norm", "similarity"] and not any(one.requires_grad for one in maps.values())
    assert_close(maps["similarity"], vector["cosine_similarity"][torch.arange(len(labels)), labels])
    assert_close(maps["norm"], features.square().sum(1).sqrt())
    lengths = vector["class_weight"].norm(dim=1)[labels, None, None]
    whole = lengths * maps["norm"] * maps["similarity"] / features.shape[1]
    assert_close(method.score_maps(features, labels).maps, whole)
    around = Wrapper(method).further_maps(features, labels)
    assert all(torch.equal(around[name], maps[name]) for name in maps)


def test_cells_without_features_point_nowhere() -> None:
    method = bridging_gap.build(bridging_gap.Config(), bare(torch.ones(2, 3))).eval()
    maps = method.further_maps(torch.zeros(1, 3, 2, 2), torch.tensor([0]))
    assert not maps["norm"].any() and not maps["similarity"].any()


# --- bridging the gap, alignment --------------------------------------------------------------------------------------

VECTORS = torch.tensor([[3, 4], [2, 0], [0, 1], [0, 0]], dtype=torch.float32).T.reshape(1, 2, 2, 2)


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
