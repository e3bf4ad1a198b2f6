"""DA-WSOL: discrepancies and clusters against plain loops, anchors over batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.da_wsol import CHANNELS, CLASSES, looped_mmd, make, make_features, means, step
from wsol.ops import assignment
from wsol.ops.discrepancy import full_mmd, linear_mmd, reverse_gradient

# --- discrepancies ----------------------------------------------------------------------------------------------------


def test_discrepancies_by_hand() -> None:
    def rows(*values: object) -> Tensor:
        return torch.tensor([values], dtype=torch.float64)

    source, target = rows([0.0], [1.0]), rows([2.0], [4.0])
    assert linear_mmd(source, target).item() == pytest.approx(1.548037278633256, abs=1e-12)
    assert full_mmd(source, target).item() == pytest.approx(3.8850523291943713, abs=1e-12)
    three = linear_mmd(rows([0.0, 0.0], [1.0, 0.0], [0.0, 2.0]), rows([1.0, 1.0], [3.0, 0.0], [2.0, 2.0]))
    assert three.item() == pytest.approx(0.8253099724322404, abs=1e-12)


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
