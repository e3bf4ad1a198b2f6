"""CropCAM: its loss, alone and around other methods, and two workers as one."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.support.crop_cam import SIDE, make, make_batch
from tests.support.published_methods import PROGRESS
from wsol import distributed, plugins
from wsol.contract.networks import total
from wsol.contract.stacks import BASES
from wsol.contract.workers import run_two_workers
from wsol.method import Method
from wsol.methods import crop_cam
from wsol.methods.crop_cam import consistency
from wsol.types import Batch, Progress


def seeded(method: Method, batch: Batch, progress: Progress = PROGRESS) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return method.losses(batch, progress)


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["batch", "worker", "sample"])
def test_consistency_of_zero_maps_is_finite(scope: crop_cam.Scope) -> None:
    maps = torch.zeros(2, 3, 3, requires_grad=True)
    for pasted in (torch.zeros(2, 3, 3), torch.ones(2, 3, 3)):
        distances = torch.stack(consistency(maps, pasted, scope))
        (gradient,) = torch.autograd.grad(distances.sum(), maps)
        assert distances.tolist() == [1, 1] and not gradient.any()


def test_cosine_per_image_is_the_mean_over_images() -> None:
    maps, pasted = torch.rand(4, 5, 5) * torch.tensor([0.1, 1, 1, 1])[:, None, None], torch.rand(4, 5, 5)
    single = torch.stack(
        [torch.stack(consistency(m[None], p[None], "batch")) for m, p in zip(maps, pasted, strict=True)]
    )
    torch.testing.assert_close(torch.stack(consistency(maps, pasted, "sample")), single.mean(0))
    assert not torch.allclose(torch.stack(consistency(maps, pasted, "batch")), single.mean(0), atol=1e-4)


@pytest.mark.parametrize(
    "fields", [{}, {"paste_at": "image"}, {"cosine": "sample"}, {"box_union": "legacy"}, {"map_source": "feature_mean"}]
)
def test_consistency_trains_the_network_through_the_first_map(fields: dict[str, object]) -> None:
    """Without cross entropy; both distances' terms fall."""
    method, batch = make(classification_share=0.0, crop_threshold=0.5, **fields), make_batch()
    before = method(batch, PROGRESS)
    assert before["classification"] == 0
    (before["positive"] + before["negative"]).backward(retain_graph=True)
    assert all(p.grad.abs().sum() > 0 for p in method.network.backbone.parameters() if p.ndim > 1)
    assert (method.network.head.linear.weight.grad is not None) == (method.config.map_source == "class")
    for term in ("positive", "negative"):
        method = make(classification_share=0.0, crop_threshold=0.5, **fields)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
        for _ in range(20):
            optimizer.zero_grad()
            method(batch, PROGRESS)[term].backward()
            optimizer.step()
        assert method(batch, PROGRESS)[term] < before[term] - 0.01


def test_the_second_look_learns_from_cross_entropy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch, looks = make(crop_threshold=0.5).train(), make_batch(), []
    activate = method.base.activate

    def watched(images, labels, taps=()):
        looks.append(activate(images, labels, taps))
        return looks[-1]

    monkeypatch.setattr(method.base, "activate", watched)
    losses = method(batch, PROGRESS)
    first, second = looks
    for term in ("positive", "negative"):
        reached = torch.autograd.grad(
            losses[term], (first.features, second.features), retain_graph=True, allow_unused=True
        )
        assert reached[0] is not None and reached[0].any() and reached[1] is None
    assert all(g.any() for g in torch.autograd.grad(losses["classification"], (first.features, second.features)))


@pytest.mark.parametrize("name", BASES)
def test_the_terms_of_both_looks_of_the_base_are_added(name: str) -> None:
    """With all cells in the box both looks see nearly the same image, so every term is twice that of one look."""
    method, batch = (
        make(base={"name": name}, crop_threshold=0.0, classification_share=0.7, batch_norm=False),
        make_batch(),
    )
    method._boxes = lambda maps: torch.tensor([[0, 0, *maps.shape[1:]]] * len(maps))
    method.eval()  # the methods draw in training
    alone, joint = seeded(method.base, batch), seeded(method, batch)
    assert set(joint) == {*alone, "positive", "negative"}
    for term, value in alone.items():
        torch.testing.assert_close(joint[term], 2 * (0.7 if term == "classification" else 1.0) * value)


@pytest.mark.parametrize("name", BASES)
def test_every_base_trains_and_is_evaluated(name: str) -> None:
    method, batch = make(base={"name": name}, crop_threshold=0.5, max_crop_area=1.0).train(), make_batch()
    torch.manual_seed(0)
    losses = method(batch, PROGRESS)
    total(losses).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
    maps = method.eval().score_maps(batch.images, batch.labels).maps
    assert maps.shape == (8, SIDE, SIDE) and maps.min() >= 0 and maps.max() <= 1 and maps.flatten(1).std(1).min() > 0


def test_before_its_start_epoch_it_is_the_base_with_all_gradients() -> None:
    method, batch = make(start_epoch=3).train(), make_batch()
    early, late = (seeded(method, batch, replace(PROGRESS, epoch=epoch, epochs=4)) for epoch in (2, 3))
    assert early.keys() == {"classification"} and late.keys() == {"classification", "positive", "negative"}
    torch.testing.assert_close(early["classification"], seeded(method.base, batch)["classification"])
    total(early).backward()
    assert all(p.grad is not None for p in method.parameters())


def test_broken_images_give_finite_losses() -> None:
    """A constant image, and a network whose maps are all zero."""
    method, batch = make(batch_norm=False), make_batch()
    constant = replace(batch, images=torch.zeros_like(batch.images))
    dead = make(batch_norm=False)
    dead.network.head.linear.weight.data.zero_()
    for one, images in ((method, constant), (dead, batch)):
        losses = one(images, PROGRESS)
        total(losses).backward()
        assert all(torch.isfinite(value) for value in losses.values())
        assert all(torch.isfinite(p.grad).all() for p in one.parameters())
        assert torch.isfinite(one.eval().score_maps(images.images, images.labels).maps).all()


def test_a_step_in_bfloat16_compares_maps_in_float32() -> None:
    method, batch = make(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(batch, PROGRESS)
        maps = method.eval().score_maps(batch.images, batch.labels).maps
    total(losses).backward()
    assert losses["positive"].dtype == losses["negative"].dtype == maps.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.mark.parametrize("normalizer", plugins.names("normalizer"))
def test_every_normalizer_is_differentiable_inside(normalizer: str) -> None:
    method = make(normalizer={"name": normalizer}, classification_share=0.2, crop_threshold=0.5)
    total(method(make_batch(), PROGRESS)).backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


# --- two workers ------------------------------------------------------------------------------------------------------

SHARES = (slice(0, 5), slice(5, 8))


def step(module: nn.Module, method: Method, batch: Batch, weight: float) -> dict[str, Tensor]:
    losses = module(batch, PROGRESS)
    (total(losses) * weight).backward()
    values = {"positive": losses["positive"].detach(), "negative": losses["negative"].detach()}
    return {**values, **{name: p.grad for name, p in method.named_parameters()}}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    whole = make_batch()
    for scope in ("batch", "worker"):
        method = make(batch_norm=False, cosine=scope, classification_share=0.3, crop_threshold=0.5)
        share = Batch(whole.images[SHARES[rank]], whole.labels[SHARES[rank]])
        wrapped = distributed.wrap(method)
        torch.save(step(wrapped, method, share, 2 * len(share.labels) / 8), Path(folder) / f"{scope}_{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_equal_one(tmp_path: Path) -> None:
    """Also with shares of 5 and 3 images; a cosine of each worker's maps is another loss."""
    run_two_workers(worker, str(tmp_path))
    method = make(batch_norm=False, classification_share=0.3, crop_threshold=0.5)
    alone = step(method, method, make_batch(), 1.0)
    for rank in range(2):
        together, apart = (
            torch.load(tmp_path / f"{scope}_{rank}.pt", weights_only=True) for scope in ("batch", "worker")
        )
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=0, atol=1e-5 * max(1.0, value.abs().max().item()))
        assert not torch.allclose(apart["positive"], alone["positive"], atol=1e-5)
