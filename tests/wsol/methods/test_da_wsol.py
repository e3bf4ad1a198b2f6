"""DA-WSOL: the recorded numbers, every edge of a batch, other methods, and two workers."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch import Tensor

from tests.support import vectors
from tests.support.da_wsol import CLASSES, LATE, SIDE, make, make_features, means, step
from wsol import build, distributed, plugins
from wsol.contract.networks import total
from wsol.contract.stacks import BASES
from wsol.contract.workers import run_two_workers
from wsol.errors import InputError
from wsol.method import Method
from wsol.methods import da_wsol
from wsol.methods.da_wsol import mean_inside, mean_of_chosen, qualified
from wsol.network import CamHead, Classifier
from wsol.ops.discrepancy import full_mmd, linear_mmd
from wsol.types import Batch

TOLERANCE = 1e-5


def make_on_tiny(name: str = "da_wsol", **fields: object) -> Method:
    """On a network, with maps of 8x8 cells of images of 32x32 pixels."""
    torch.manual_seed(0)
    plugin = plugins.load("backbone", "tiny")
    backbone = plugin.build(plugin.Config(width=4))
    return build.around(
        plugins.load("method", name).Config(name=name, **fields),
        Classifier(backbone, CamHead(backbone.channels, CLASSES)),
    )


def make_images(count: int = 8) -> Batch:
    """Noise with a bright square whose place is the class."""
    images = 0.2 * torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = (label // 2) * 32, (label % 2) * 32
        image[:, top : top + 32, left : left + 32] += torch.tensor([1.0, -1.0, 0.5]).roll(label)[:, None, None]
    return Batch(images, labels)


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
    loss = mean_of_chosen(values, torch.arange(len(values)) < int(vector["count"]))
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
    run_two_workers(worker, str(tmp_path))
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
