"""DA-WSOL: the recorded numbers, clusters and discrepancies against plain loops, anchors over batches and workers, and
every edge of a batch."""

from __future__ import annotations

import datetime
import math
import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch import Tensor, nn

from tests.support import vectors
from wsol import build, distributed, plugins
from wsol.errors import InputError
from wsol.method import Method
from wsol.methods import da_wsol
from wsol.methods.da_wsol import DomainAdaptation, mean_inside
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.ops import assignment
from wsol.ops.discrepancy import full_mmd, linear_mmd, reverse_gradient
from wsol.types import Activations, Batch, Progress

CLASSES, CHANNELS, SIDE = 4, 12, 10
EARLY, LATE = Progress(epoch=1, epochs=4, step=3, steps=16), Progress(epoch=2, epochs=4, step=4, steps=16)
BASES = ("cam", "has", "cutmix", "adl", "acol", "spg", "tap", "bridging_gap")
TOLERANCE = 1e-5


def make(channels: int = CHANNELS, classes: int = CLASSES, **fields: object) -> DomainAdaptation:
    """On a backbone that does nothing: tests give the features."""
    torch.manual_seed(0)
    backbone = Backbone({"none": nn.Identity()}, {"none": BlockInfo(channels, 1)})
    method = build.around(da_wsol.Config(**{"samples": 4, **fields}), Classifier(backbone, CamHead(channels, classes)))
    assert isinstance(method, DomainAdaptation)
    return method


def make_on_tiny(name: str = "da_wsol", **fields: object) -> Method:
    """On a network, with maps of 8x8 cells of images of 32x32 pixels."""
    torch.manual_seed(0)
    plugin = plugins.load("backbone", "tiny")
    backbone = plugin.build(plugin.Config(width=4))
    return build.around(
        plugins.load("method", name).Config(name=name, **fields),
        Classifier(backbone, CamHead(backbone.channels, CLASSES)),
    )


def make_features(count: int = 6, seed: int = 0, side: int = SIDE) -> Tensor:
    """Not negative, with a blob of one kind of cells and its edge of another."""
    random = torch.Generator().manual_seed(seed)
    kinds = 2 * torch.randn(count, 3, CHANNELS, generator=random)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    blob, part = torch.exp(-3 * (x**2 + y**2)), torch.exp(-8 * ((x - 0.4) ** 2 + y**2))
    mixed = torch.einsum("bkc,khw->bchw", kinds, torch.stack((1 - blob, blob, part)))
    return (mixed + 0.4 * torch.randn(count, CHANNELS, side, side, generator=random)).relu()


def make_images(count: int = 8) -> Batch:
    """Noise with a bright square whose place is the class."""
    images = 0.2 * torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = (label // 2) * 32, (label % 2) * 32
        image[:, top : top + 32, left : left + 32] += torch.tensor([1.0, -1.0, 0.5]).roll(label)[:, None, None]
    return Batch(images, labels)


def step(
    method: Method, features: Tensor, labels: Tensor, progress: Progress = LATE, **mixed: object
) -> dict[str, Tensor]:
    """Loss terms of features."""
    torch.manual_seed(5)
    activations = Activations(features, method.network.head(features), {})
    return method.loss_terms(activations, Batch(features, labels, **mixed), progress)


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def means(method: DomainAdaptation) -> Tensor:
    """Anchors (K + 1, C); zeros where nothing was seen."""
    return method.anchor_sums / method.anchor_counts.clamp(min=1)[:, None]


# --- recorded numbers -------------------------------------------------------------------------------------------------


def assert_recorded(found: Tensor, recorded: np.ndarray) -> None:
    """1e-5 of the largest value."""
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


@pytest.mark.parametrize("path", vectors.files("maximum_mean_discrepancy"))
def test_discrepancies_are_the_published_ones(path: Path) -> None:
    vector = vectors.load(path)
    source, target = (torch.from_numpy(vector[name]).requires_grad_() for name in ("source", "target"))
    values = linear_mmd(source, target)
    loss = values[: int(vector["count"])].mean()
    loss.backward()
    assert_recorded(values, vector["linear_time_per_item"])
    assert_recorded(loss, vector["linear_time_loss"])
    assert_recorded(full_mmd(source, target), vector["quadratic_per_item"])
    assert source.grad is not None and target.grad is not None
    assert_recorded(source.grad, vector["grad_source"])
    assert_recorded(target.grad, vector["grad_target"])


@pytest.mark.parametrize("path", vectors.files("target_sample_assignment"))
def test_clusters_and_anchors_are_the_published_ones(path: Path) -> None:
    vector = vectors.load(path)
    samples, index = int(vector["samples_per_set"]), 0
    classes, channels = vector["step0_class_centers_after"].shape
    method = make(channels, classes, samples=samples, anchor_update="image", universum_weight=1.0)
    codes = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)  # universum, fake, real
    split = method.split
    seen: list[Tensor] = []
    method.split = lambda cells, labels: seen.append(split(cells, labels)) or seen[-1]
    while f"step{index}_labels" in vector:
        recorded = {key.removeprefix(f"step{index}_"): value for key, value in vector.items()}
        features, labels = (torch.from_numpy(recorded[name]) for name in ("pixel_feature", "labels"))
        losses = step(method, features, labels)
        clusters = seen[-1][0]
        assert np.array_equal(
            codes[clusters].reshape(len(labels), *features.shape[2:]),
            recorded["assignment_0_universum_1_source_half_target"],
        )
        assert qualified(clusters, samples).sum() == recorded["usable_items"]
        assert_recorded(losses["universum"], recorded["universum_mean"])
        assert_recorded(means(method)[:-1], recorded["class_centers_after"])
        assert_recorded(means(method)[-1:], recorded["universum_center_after"])
        assert method.anchor_counts.tolist() == [
            *recorded["class_counts_after"].ravel().tolist(),
            int(recorded["universum_count_after"]),
        ]
        index += 1
    assert index > 1


def qualified(clusters: Tensor, samples: int) -> Tensor:
    return ((clusters == 1).sum(1) >= samples - 1) & ((clusters == 2).sum(1) >= samples)


# --- discrepancies ----------------------------------------------------------------------------------------------------


def test_discrepancies_by_hand() -> None:
    def rows(*values: object) -> Tensor:
        return torch.tensor([values], dtype=torch.float64)

    source, target = rows([0.0], [1.0]), rows([2.0], [4.0])
    assert linear_mmd(source, target).item() == pytest.approx(1.548037278633256, abs=1e-12)
    assert full_mmd(source, target).item() == pytest.approx(3.8850523291943713, abs=1e-12)
    three = linear_mmd(rows([0.0, 0.0], [1.0, 0.0], [0.0, 2.0]), rows([1.0, 1.0], [3.0, 0.0], [2.0, 2.0]))
    assert three.item() == pytest.approx(0.8253099724322404, abs=1e-12)


def looped_mmd(source: Tensor, target: Tensor) -> Tensor:
    """One pair (n, C), every distance for itself."""
    rows, count = [*source, *target], len(source)
    distances = [(a - b).square().sum() for a in rows for b in rows]
    width = (torch.stack(distances).sum() / (len(rows) ** 2 - len(rows)) / 4).detach()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([torch.exp(-(a - b).square().sum() / (width * 2**power)) for power in range(5)]).sum()

    terms = []
    for i in range(count):
        s, t, s_next, t_next = source[i], target[i], source[(i + 1) % count], target[(i + 1) % count]
        terms.append(kernel(s, s_next) + kernel(t, t_next) - kernel(s, t_next) - kernel(s_next, t))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_linear_discrepancy_is_that_of_a_loop(rows: int) -> None:
    torch.manual_seed(0)
    source = torch.randn(3, rows, 5, dtype=torch.float64, requires_grad=True)
    target = (torch.randn(3, rows, 5, dtype=torch.float64) + 1).requires_grad_()
    values = linear_mmd(source, target)
    expected = torch.stack([looped_mmd(s, t) for s, t in zip(source, target, strict=True)])
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)
    for found, right in zip(*(torch.autograd.grad(v.sum(), (source, target)) for v in (values, expected)), strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("formula", [linear_mmd, full_mmd])
def test_equal_rows_do_not_differ(formula) -> None:
    source, target = (torch.full((2, 4, 3), 0.7, requires_grad=True) for _ in range(2))
    values = formula(source, target)
    values.sum().backward()
    assert values.tolist() == pytest.approx([0, 0], abs=1e-6)
    assert not source.grad.any() and not target.grad.any()


def test_gradients_are_reversed() -> None:
    values = torch.randn(5, requires_grad=True)
    reversed_values = reverse_gradient(values, 0.3)
    assert torch.equal(reversed_values, values)
    (gradient,) = torch.autograd.grad((reversed_values * torch.arange(5.0)).sum(), values)
    torch.testing.assert_close(gradient, -0.3 * torch.arange(5.0))


# --- clusters ---------------------------------------------------------------------------------------------------------


def plain_k_means(cells: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Lloyd's rule for one image, step by step; also how many steps."""
    limit, labels = 1e-4 * cells.var(0).mean(), None
    for count in range(1, 301):
        distances = ((cells[:, None] - centers) ** 2).sum(2)
        found = distances.argmin(1)
        owner, farthest = found.copy(), np.argsort(-distances.min(1))
        for cluster, cell in zip(np.setdiff1d(np.arange(len(centers)), found), farthest, strict=False):
            owner[cell] = cluster
        moved = np.stack([cells[owner == cluster].mean(0) for cluster in range(len(centers))])
        shift, centers = ((moved - centers) ** 2).sum(), moved
        if labels is not None and (found == labels).all():
            return found, centers, count
        labels = found
        if shift <= limit:
            break
    return ((cells[:, None] - centers) ** 2).sum(2).argmin(1), centers, count


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("cached", [1, 1 << 30])
def test_clusters_are_those_of_a_plain_loop(channels_last: bool, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where two centres are equal, and where all cells are nearest to one."""
    monkeypatch.setattr(assignment, "CACHED_BYTES", cached)
    features = make_features(12).double()
    if channels_last:
        features = features.to(memory_format=torch.channels_last)
    cells = features.flatten(2).mT
    pooled = cells.mean(1)
    last = pooled + 0.3 * torch.randn(12, CHANNELS, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    last[:4] = pooled[:4]
    starts = torch.stack((torch.zeros_like(pooled), pooled, last), dim=1)
    starts[4:6, 1:] += 50
    labels, centers = assignment.k_means(cells, starts)
    expected = [plain_k_means(image.numpy(), start.numpy()) for image, start in zip(cells, starts, strict=True)]
    assert labels.tolist() == [found.tolist() for found, _, _ in expected]
    torch.testing.assert_close(
        centers, torch.from_numpy(np.stack([moved for _, moved, _ in expected])), rtol=0, atol=1e-12
    )
    assert len({steps for _, _, steps in expected}) > 3  # images stop at different times


def test_equal_centers_leave_all_cells_to_the_first() -> None:
    cells, starts = torch.rand(50, 30, 33), torch.rand(50, 3, 33)
    starts[:, 2] = starts[:, 1]
    labels, _ = assignment._nearest(cells, starts)
    assert (labels < 2).all() and (labels == 1).any()


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_clusters_of_equal_cells_are_finite(count: int, value: float) -> None:
    cells = torch.full((2, count, 4), value)
    labels, centers = assignment.k_means(cells, torch.stack((torch.zeros(2, 4), cells[:, 0], cells[:, 0]), dim=1))
    assert torch.isfinite(centers).all() and labels.min() >= 0 and labels.max() <= 2


def test_cells_are_drawn_from_their_region_without_repetition() -> None:
    cells = torch.arange(40.0).view(2, 20, 1).requires_grad_()
    inside = torch.zeros(2, 20).bool()
    inside[0, 4:12], inside[1, ::2] = True, True
    keys = torch.rand(300, 2, 20, generator=torch.Generator().manual_seed(0))
    drawn = torch.stack([assignment.draw(cells, inside, one, 6)[:, :, 0] for one in keys])
    for image in range(2):
        allowed = set(cells[image, inside[image], 0].tolist())
        assert {value for one in drawn for value in one[image].tolist()} == allowed
        assert all(len(set(one[image].tolist())) == 6 for one in drawn)
    assert (drawn[:, 0].diff(dim=1) < 0).float().mean().item() == pytest.approx(0.5, abs=0.1)  # in random order
    drawn[0].sum().backward()
    assert cells.grad.sum() == 12 and set(cells.grad.unique().tolist()) == {0, 1}


# --- anchors ----------------------------------------------------------------------------------------------------------


def test_anchors_after_the_first_images() -> None:
    method, features = make(), make_features(1)
    step(method, features, torch.tensor([2]))
    pooled = features.mean((2, 3))
    starts = torch.stack((torch.zeros_like(pooled), pooled, pooled), dim=1)
    _, centers = assignment.k_means(features.flatten(2).mT, starts)
    assert method.anchor_counts.tolist() == [0, 0, 2, 0, 1]
    torch.testing.assert_close(means(method)[2].float(), (pooled + centers[:, 1])[0] / 2)
    torch.testing.assert_close(means(method)[-1].float(), centers[0, 0])


def test_the_class_anchor_may_follow_the_real_targets() -> None:
    sums = []
    for followed in ("fake", "real"):
        method = make(class_anchor=followed)
        step(method, make_features(1), torch.tensor([2]))
        sums.append(method.anchor_sums)
    assert not torch.allclose(sums[0][2], sums[1][2]) and torch.equal(sums[0][-1], sums[1][-1])


def test_anchors_of_a_batch_do_not_depend_on_its_order() -> None:
    """Also where several images speak for one new class."""
    features, labels, order = make_features(), torch.tensor([1, 3, 1, 1, 0, 3]), torch.tensor([5, 2, 0, 4, 1, 3])
    first, second = make(), make()
    for _ in range(2):
        step(first, features, labels)
        step(second, features[order], labels[order])
    assert first.anchor_counts.tolist() == pytest.approx([3, 7, 0, 5, 12])
    torch.testing.assert_close(first.anchor_sums, second.anchor_sums)


def test_image_by_image_is_a_batch_for_each_image() -> None:
    features, labels = make_features(), torch.tensor([1, 3, 1, 1, 0, 3])
    together, apart, frozen = make(anchor_update="image"), make(), make()
    step(together, features, labels)
    step(frozen, features, labels)
    for image, label in zip(features, labels, strict=True):
        step(apart, image[None], label[None])
    torch.testing.assert_close(together.anchor_sums, apart.anchor_sums)
    torch.testing.assert_close(together.anchor_counts, apart.anchor_counts)
    assert not torch.allclose(frozen.anchor_sums, apart.anchor_sums)


@pytest.mark.parametrize("update", ["batch", "image"])
def test_mixed_labels_move_the_anchors_of_both_and_share_the_losses(update: str) -> None:
    features, labels, others = make_features(), torch.tensor([0, 0, 1, 1, 0, 1]), torch.tensor([2, 1, 0, 2, 2, 2])
    method = make(anchor_update=update)
    losses = step(method, features, labels, mixed_labels=others, mixed_weight=0.3)
    assert (method.anchor_counts > 0).tolist() == [True, True, True, False, True]
    assert method.anchor_counts.tolist() == pytest.approx([3 + 1 + 1, 3 + 1 + 1, 4 + 1, 0, 12])
    if update == "batch":
        alone = [step(make(), features, one) for one in (labels, others)]
        for term in ("domain", "universum"):
            torch.testing.assert_close(losses[term], 0.7 * alone[0][term] + 0.3 * alone[1][term])


def test_anchors_are_part_of_a_checkpoint() -> None:
    features, labels = make_features(), torch.arange(6) % CLASSES
    method, again = make(), make()
    step(method, features, labels)
    again.load_state_dict(method.state_dict())
    first, second = (step(m, make_features(seed=1), labels) for m in (method, again))
    assert all(torch.equal(first[term], second[term]) for term in first)
    assert torch.equal(method.anchor_sums, again.anchor_sums)
    assert not torch.equal(first["universum"], step(make(), make_features(seed=1), labels)["universum"])


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discrepancy", ["mmd", "full_mmd", "dann"])
def test_it_begins_with_its_start_epoch(discrepancy: str) -> None:
    """What was published as start_epoch 1, from 0 and exclusive, is 3 here."""
    features, labels = make_features(), torch.arange(6) % CLASSES
    method = make(start_epoch=3, discrepancy=discrepancy)
    before = step(method, features.requires_grad_(), labels, replace(LATE, epoch=2))
    assert before["domain"] == before["universum"] == 0 and not method.anchor_counts.any()
    assert torch.equal(total(before), before["classification"])
    total(before).backward()
    assert all(p.grad is not None for p in method.parameters())
    after = step(method, features, labels, replace(LATE, epoch=3))
    assert torch.equal(before["classification"], after["classification"])
    assert after["domain"] != 0 and after["universum"] > 0 and method.anchor_counts.any()


def test_weights_weigh() -> None:
    features, labels = make_features(), torch.arange(6) % CLASSES
    one, other = (
        step(make(domain_weight=d, universum_weight=u), features, labels) for d, u in ((1.0, 1.0), (0.3, 2.0))
    )
    for term, weight in (("classification", 1.0), ("domain", 0.3), ("universum", 2.0)):
        torch.testing.assert_close(other[term], weight * one[term])


def test_the_terms_are_those_of_plain_loops() -> None:
    method, features, labels = (
        make(samples=8, domain_weight=1.0, universum_weight=1.0),
        make_features(),
        torch.arange(6) % CLASSES,
    )
    cells = features.flatten(2).mT
    clusters = make().split(cells, [labels])[0]
    losses = step(method, features, labels)
    torch.manual_seed(5)
    keys = torch.rand(6, SIDE**2)
    values = []
    for image in qualified(clusters, 8).nonzero()[:, 0].tolist():
        fake, real = (
            [i for i in keys[image].argsort().tolist() if clusters[image, i] == cluster] for cluster in (1, 2)
        )
        source = torch.stack([cells[image].mean(0), *cells[image, fake[:7]]])
        values.append(looped_mmd(source, cells[image, real[:8]]))
    assert 0 < len(values) < 6  # some do not qualify
    torch.testing.assert_close(losses["domain"], torch.stack(values).mean())
    torch.testing.assert_close(
        losses["universum"], torch.cat([c[k == 0] for c, k in zip(cells, clusters, strict=True)]).mean()
    )


def test_gradients_reach_the_cells_that_were_drawn() -> None:
    """The universum only through its mean, and every cell a little through the pooled feature."""
    features, labels = make_features().requires_grad_(), torch.arange(6) % CLASSES
    method = make(samples=8, domain_weight=1.0, universum_weight=1.0)
    clusters = make().split(features.detach().flatten(2).mT, [labels])[0]
    losses = step(method, features, labels)
    (gradient,) = torch.autograd.grad(losses["universum"], features, retain_graph=True)
    region = (clusters == 0).view(6, 1, SIDE, SIDE)
    torch.testing.assert_close(gradient, (region / (region.sum() * CHANNELS)).expand_as(gradient))
    (gradient,) = torch.autograd.grad(losses["domain"], features)
    strength = gradient.flatten(2).norm(dim=1)
    for image, chosen in enumerate(qualified(clusters, 8).tolist()):
        through_pooling = strength[image].median()
        assert (strength[image] > 2 * through_pooling).sum() == (15 if chosen else 0)
        assert (through_pooling > 0) == chosen
    assert not method.anchor_sums.requires_grad


def test_a_discriminator_learns_what_the_features_unlearn() -> None:
    features, labels = make_features().requires_grad_(), torch.arange(6) % CLASSES
    method = make(discrepancy="dann", domain_weight=1.0)
    done = Progress(epoch=3, epochs=4, step=12, steps=16)
    loss = step(method, features, labels, done)["domain"]
    reached = torch.autograd.grad(loss, (features, method.discriminator.linear.weight))
    method.discriminator.forward = lambda source, target, _: honest(method.discriminator.linear, source, target)
    again = step(method_with_fresh_anchors(method), features, labels, done)["domain"]
    straight = torch.autograd.grad(again, (features, method.discriminator.linear.weight))
    torch.testing.assert_close(loss, again)
    torch.testing.assert_close(reached[0], -(2 / (1 + math.exp(-0.75)) - 1) * straight[0])
    torch.testing.assert_close(reached[1], straight[1])
    assert straight[0].any() and straight[1].any()


def honest(linear: nn.Linear, source: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy without reversal, written out."""
    return -(linear(source).sigmoid().log().mean((1, 2)) + (1 - linear(target).sigmoid()).log().mean((1, 2))) / 2


def method_with_fresh_anchors(method: DomainAdaptation) -> DomainAdaptation:
    method.anchor_sums.zero_()
    method.anchor_counts.zero_()
    return method


def test_the_discriminator_learns_at_the_heads_rate() -> None:
    groups = {group["name"]: group for group in make(discrepancy="dann").parameter_groups()}
    assert groups["discriminator"]["head"] and len(groups["discriminator"]["params"]) == 2
    assert {id(p) for p in groups["discriminator"]["params"]}.isdisjoint(id(p) for p in groups["head"]["params"])


# --- edges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discrepancy", ["mmd", "full_mmd", "dann"])
@pytest.mark.parametrize("kind", ["few cells", "zeros", "constant", "one class", "one image"])
def test_no_batch_breaks_it(discrepancy: str, kind: str) -> None:
    count = 1 if kind == "one image" else 6
    features, labels = make_features(count, side=3 if kind == "few cells" else SIDE), torch.arange(count) % CLASSES
    features = {"zeros": torch.zeros_like(features), "constant": torch.full_like(features, 0.4)}.get(
        kind, features
    ).requires_grad_()
    labels = torch.ones_like(labels) if kind == "one class" else labels
    method = make(samples=5, discrepancy=discrepancy, domain_weight=1.0)
    for _ in range(3):
        losses = step(method, features, labels)
        total(losses).backward()
        assert all(torch.isfinite(value) for value in losses.values())
        assert torch.isfinite(features.grad).all() and torch.isfinite(means(method)).all()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
        if kind in ("few cells", "zeros", "constant"):
            assert losses["domain"] == 0  # nobody qualifies


def test_maps_too_small_for_the_samples_are_told() -> None:
    with pytest.warns(UserWarning, match=r"No map of 100 cells has 201 to draw.*method\.samples"):
        assert step(make(samples=101), make_features(), torch.arange(6) % CLASSES)["domain"] == 0


def test_an_empty_region_has_mean_zero() -> None:
    assert mean_inside(torch.ones(2, 3, 4), torch.zeros(2, 3).bool()) == 0


def test_a_step_in_bfloat16_clusters_in_float32() -> None:
    method, batch = make_on_tiny(samples=4).train(), make_images()
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(batch, LATE)
    total(losses).backward()
    assert losses["domain"].dtype == losses["universum"].dtype == torch.float32 and losses["domain"] != 0
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.mark.parametrize(
    "fields",
    [{"samples": 1}, {"start_epoch": 0}, {"domain_weight": -1.0}, {"discrepancy": "ot"}, {"base": {"name": "camm"}}],
)
def test_ranges(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        da_wsol.Config(**fields)


# --- with other methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASES)
def test_every_base_trains(name: str) -> None:
    method, batch = make_on_tiny(base={"name": name}, samples=3, discrepancy="dann").train(), make_images()
    torch.manual_seed(3)
    alone = method.base(batch, LATE)
    torch.manual_seed(3)
    losses = method(batch, LATE)
    assert set(losses) == {*alone, "domain", "universum"} and losses["universum"] > 0
    total(losses).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
    assert method.eval().score_maps(batch.images, batch.labels).maps.shape == (8, 8, 8)


@pytest.mark.parametrize("discrepancy", ["mmd", "dann"])
def test_inside_crop_cam_both_looks_are_adapted(discrepancy: str) -> None:
    method = make_on_tiny(
        "crop_cam", base={"name": "da_wsol", "samples": 3, "discrepancy": discrepancy}, crop_threshold=0.5
    ).train()
    optimizer = torch.optim.SGD([p for group in method.parameter_groups() for p in group["params"]], lr=0.01)
    losses = method(make_images(), LATE)
    assert set(losses) == {"classification", "domain", "universum", "positive", "negative"}
    assert method.base.anchor_counts[-1] == 16  # 8 images, twice
    before = [p.detach().clone() for p in method.parameters()]
    total(losses).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(method.parameters(), before, strict=True) if p.ndim > 1)


def test_around_crop_cam_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"method\.base.*name: crop_cam, base: \{name: da_wsol\}"):
        make_on_tiny(base={"name": "crop_cam"})


# --- two workers ------------------------------------------------------------------------------------------------------


LABELS = torch.tensor([1, 3, 1, 1, 0, 3, 2, 2])


def worker(rank: int, folder: str) -> None:
    """Shares of 5 and 3 images; only one worker has mixed labels in the last case."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    mine, features = slice(0, 5) if rank == 0 else slice(5, 8), make_features(8)
    found: dict[str, Tensor] = {"rows": distributed.gather_rows(torch.arange(8.0).view(8, 1)[mine])}
    for update in ("batch", "image"):
        method = make(anchor_update=update)
        for _ in range(2):
            losses = step(method, features[mine], LABELS[mine])
        found.update(
            {
                f"{update}_sums": method.anchor_sums,
                f"{update}_counts": method.anchor_counts,
                f"{update}_loss": losses["universum"],
            }
        )
    method = make()
    step(
        method,
        features[mine],
        LABELS[mine],
        **({"mixed_labels": LABELS[mine].flip(0), "mixed_weight": 0.4} if rank == 0 else {}),
    )
    found["mixed_counts"] = method.anchor_counts
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_have_the_anchors_of_one(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload(["torch._dynamo"])  # imported once for both
    torch.multiprocessing.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="forkserver")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first if not key.endswith("loss"))
    assert first["rows"].flatten().tolist() == list(range(8))
    method = make()
    for _ in range(2):
        losses = step(method, make_features(8), LABELS)
    torch.testing.assert_close(first["batch_sums"], method.anchor_sums)
    torch.testing.assert_close(first["batch_counts"], method.anchor_counts)
    torch.testing.assert_close(first["image_counts"], method.anchor_counts)  # the same images, in another order
    assert first["mixed_counts"].sum() == pytest.approx(13 + 4 + 13)
    assert losses["universum"] > 0 and first["batch_loss"] != second["batch_loss"]
