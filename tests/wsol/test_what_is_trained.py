"""What training sums up, draws and keeps, from one epoch to the next and from one worker to the other."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from tests.support.coloured_images import COLOURS, IMAGENET, config_of, write_images
from tests.support.tiny import OBJECTIVE
from wsol import build, training
from wsol.checkpoint import Checkpoints, Record
from wsol.config import EvaluationConfig, TrainConfig
from wsol.contract.workers import run_two_workers
from wsol.data.images import ImageStore
from wsol.data.loading import TrainLoader
from wsol.method import Method
from wsol.network import Classifier
from wsol.types import Activations, Batch, Progress, ScoreMaps


def test_the_loss_is_the_mean_over_the_images(plain_colours: Path, tmp_path: Path) -> None:
    """Seven images in batches of three: the last one has one, and counts as one image; in evaluation as well."""
    config = config_of(plain_colours, 16, evaluation={"threshold_step": 0.1, "batch_size": 3})
    (record,) = training.train(config, tmp_path / "run", OBJECTIVE)
    best = Checkpoints(tmp_path / "run").best
    assert best is not None
    network = build.trained_method(config, Checkpoints(tmp_path / "run").load(best)["method"], 2).network
    mean, std = (torch.tensor(values) for values in IMAGENET)
    images = ((torch.tensor(COLOURS) / 255 - mean) / std)[:, :, None, None].expand(-1, -1, 16, 16)
    with torch.no_grad():
        losses = F.cross_entropy(network(images).logits, torch.arange(7) % 2, reduction="none")
    assert losses.std() > 1e-4  # so that another weighting gives another number
    assert record["train/loss"] == pytest.approx(losses.mean().item(), abs=2e-7)
    assert record["train/loss/classification"] == record["train/loss"]
    assert record["train_fullsup/loss/classification"] == pytest.approx(losses.mean().item(), abs=2e-7)


class TwoTerms(Method):
    def __init__(self, network: Classifier) -> None:
        super().__init__(network)
        self.seen: list[Progress] = []

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        self.seen.append(progress)
        own = activations.logits.sum() * 0
        return {"first": own + 0.5 * len(batch.labels), "second": own + progress.step}


def test_the_loss_is_the_sum_of_its_terms(plain_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 3, 3 and 1 images, steps 0 to 2 and 3 to 5."""
    method = TwoTerms(build.method(config_of(plain_colours, 16), 2).network)
    monkeypatch.setattr(build, "method", lambda *arguments: method)
    config = config_of(plain_colours, 16, training={"epochs": 2, "batch_size": 3})
    records = training.train(config, tmp_path / "run", OBJECTIVE)
    assert method.seen == [Progress(epoch, 2, 3 * epoch - 3 + index, 6) for epoch in (1, 2) for index in range(3)]
    first = (3 * 1.5 + 3 * 1.5 + 1 * 0.5) / 7
    for record, start in zip(records, (0, 3), strict=True):
        second = (3 * start + 3 * (start + 1) + 1 * (start + 2)) / 7
        assert record["train/loss/first"] == pytest.approx(first, abs=1e-6)
        assert record["train/loss/second"] == pytest.approx(second, abs=1e-6)
        assert record["train/loss"] == pytest.approx(first + second, abs=1e-6)


class TwoHalves(Method):
    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        half = super().loss_terms(activations, batch, progress)["classification"] / 2
        return {"one": half, "other": half}


def test_the_sum_of_the_terms_is_what_trains(
    plain_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss in two halves, which floats hold exactly, ends with the weights of the whole one."""
    config = config_of(plain_colours, 16, optim={"lr": 0.1}, training={"epochs": 1, "batch_size": 3})
    network = build.method(config, 2).network
    start, trained = copy.deepcopy(network.state_dict()), []
    for kind in (Method, TwoHalves):
        method = kind(copy.deepcopy(network))
        monkeypatch.setattr(build, "method", lambda *arguments, made=method: made)
        training.train(config, tmp_path / kind.__name__, OBJECTIVE)
        trained.append(method.network.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in start)
    assert not all(torch.equal(trained[0][name], start[name]) for name in start)


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32), ("auto", None)])
def test_the_precision_is_in_force(
    precision: str, expected: torch.dtype | None, plain_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features and logits of training are in it; those of evaluation are float32 always."""
    if expected is None:
        expected = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    trained, evaluated = set[torch.dtype](), set[torch.dtype]()
    activate = Method.activate

    def watch(self: Method, *arguments: Tensor) -> Activations:
        found = activate(self, *arguments)
        (trained if self.training else evaluated).update((found.features.dtype, found.logits.dtype))
        return found

    monkeypatch.setattr(Method, "activate", watch)
    config = config_of(plain_colours, 16, training={"epochs": 1, "batch_size": 3, "precision": precision})
    training.train(config, tmp_path / "run", OBJECTIVE)
    assert trained == {expected} and evaluated == {torch.float32}


# --- draws ------------------------------------------------------------------------------------------------------------


def draws_of_steps(
    config: TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, rank: int = 0
) -> list[tuple[float, ...]]:
    """What torch draws first in every step."""
    drawn: list[tuple[float, ...]] = []
    augment = Method.augment

    def watch(self: Method, batch: Batch) -> Batch:
        drawn.append(tuple(torch.rand(4).tolist()))
        return augment(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Method, "augment", watch)
        patch.setattr(training.distributed, "rank", lambda: rank)
        patch.setattr(training.distributed, "is_main", lambda: True)
        training.train(config, folder, OBJECTIVE)
    return drawn


def test_every_epoch_step_seed_and_worker_draws_anew(
    plain_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(plain_colours, 16, training={"epochs": 4, "batch_size": 3})
    first = draws_of_steps(config, tmp_path / "first", monkeypatch)
    assert len(first) == 12 and draws_of_steps(config, tmp_path / "again", monkeypatch) == first
    seeded = draws_of_steps(config.model_copy(update={"seed": 1}), tmp_path / "seeded", monkeypatch)
    elsewhere = draws_of_steps(config, tmp_path / "elsewhere", monkeypatch, rank=1)
    assert len({*first, *seeded, *elsewhere}) == 36


@pytest.mark.parametrize("name", ["has", "cutmix"])
def test_augmentations_of_two_epochs_differ(
    name: str, plain_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of an epoch are all in one batch; what counts is how many were changed at each place, not which."""
    fields = {"cell_size": 4} if name == "has" else {"probability": 1.0}
    config = config_of(plain_colours, 16, method={"name": name, **fields}, training={"epochs": 5, "batch_size": 7})
    kind = type(build.method(config, 2))
    augment, changed = kind.augment, list[Tensor]()

    def watch(self: Method, batch: Batch) -> Batch:
        found: Batch = augment(self, batch)
        changed.append((found.images != batch.images).any(dim=1).sum(dim=0))
        return found

    monkeypatch.setattr(kind, "augment", watch)
    training.train(config, tmp_path / "run", OBJECTIVE)
    assert len(changed) == 5
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(changed, 2))


def test_crops_and_flips_are_uniform(tmp_path: Path) -> None:
    """2,400 images whose pixels say where they are: every offset of a crop and both directions, each on its own
    and together, within four deviations."""
    rows, columns = np.mgrid[:12, :12].astype(np.uint8) * 20
    write_images(tmp_path / "places", [np.stack([rows, columns, 0 * rows], axis=2)] * 12)
    config = config_of(tmp_path / "places", 12)
    images = build.images(build.dataset(config.data), "train_weaksup", config.data)
    loader = TrainLoader(images.split, images, batch_size=12, image_size=9, resize_size=12, seed=0, rank=0, world=1)
    tops, lefts, flips = Counter[int](), Counter[int](), Counter[bool]()
    together = Counter[tuple[int, int, bool]]()
    for epoch in range(200):
        for pixels in (raw.images.numpy() // 20 for raw in loader.epoch(epoch)):
            for image in pixels:
                (top, first), last = image[0, 0, :2].tolist(), int(image[0, -1, 1])
                left, flipped = min(first, last), first > last
                assert abs(first - last) == 8 and np.array_equal(image[:, 0, 0], top + np.arange(9))
                tops[top] += 1
                lefts[left] += 1
                flips[flipped] += 1
                together[top, left, flipped] += 1
    assert set(tops) == set(lefts) == {0, 1, 2, 3} and len(together) == 32
    for counts, share in ((tops, 1 / 4), (lefts, 1 / 4), (flips, 1 / 2)):
        deviation = (2400 * share * (1 - share)) ** 0.5
        assert all(abs(count - 2400 * share) < 4 * deviation for count in counts.values()), counts
    chi_squared = sum((count - 75) ** 2 / 75 for count in together.values())
    assert chi_squared < 31 + 4 * 62**0.5, together


# --- what is kept -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "checkpoint", "kept", "objectives"),
    [
        ((1.0, 3.0, 3.0, 2.0), "best", 2, (1.0, 3.0, 3.0, 3.0)),
        ((2.0, 2.0, 2.0, 2.0), "best", 1, (2.0, 2.0, 2.0, 2.0)),
        ((0.0, 0.0, 1.0, 1.0), "best", 3, (0.0, 0.0, 1.0, 1.0)),
        ((1.0, 3.0, 2.0, 2.5), "best", 2, (1.0, 3.0, 3.0, 3.0)),
        ((3.0, 1.0, 1.0, 2.0), "last", 4, (3.0, 1.0, 1.0, 2.0)),
    ],
)
def test_of_equal_epochs_the_first_is_kept(
    values: tuple[float, ...],
    checkpoint: str,
    kept: int,
    objectives: tuple[float, ...],
    plain_colours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = iter(values)
    monkeypatch.setattr(training, "evaluate", lambda *arguments: {"max_box_acc_v2": next(left)})
    config = config_of(
        plain_colours,
        16,
        training={"epochs": 4, "batch_size": 3, "checkpoint": checkpoint},
        optim={"lr": 0.01},
    )
    weights: list[Tensor] = []

    def look(method: Method, record: Record) -> None:
        weights.append(next(method.parameters()).detach().clone())

    history = training.train(config, tmp_path / "run", OBJECTIVE, look=look)
    best = Checkpoints(tmp_path / "run").best
    assert best is not None and best.epoch == kept and best.objective == values[kept - 1]
    assert tuple(record["objective"] for record in history) == objectives
    assert tuple(record["objective_now"] for record in history) == values
    exported = Checkpoints(tmp_path / "run").load(best)["method"]
    assert torch.equal(next(iter(exported.values())), weights[kept - 1])
    assert not any(torch.equal(weights[kept - 1], other) for place, other in enumerate(weights) if place != kept - 1)


def test_an_epoch_is_looked_at_then_saved_then_reported(plain_colours: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, int]] = []

    def tell(word: str, record: Record) -> None:
        latest = Checkpoints(tmp_path / "run").latest
        told.append((word, record["epoch"], 0 if latest is None else latest.epoch))

    config = config_of(plain_colours, 16, training={"epochs": 2, "batch_size": 7})
    training.train(config, tmp_path / "run", OBJECTIVE, partial(tell, "report"), lambda _, record: tell("look", record))
    assert told == [("look", 1, 0), ("report", 1, 1), ("look", 2, 1), ("report", 2, 2)]


def train_as_worker(rank: int, config_json: str, folder: str) -> None:
    """Leaves the network as it is evaluated by this worker after every epoch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    seen: list[dict[str, Tensor]] = []
    images: list[int] = []
    score_maps = Method.score_maps
    score_network: Callable[[Method, ImageStore, EvaluationConfig], dict[str, float]] = training.evaluate

    def watch(method: Method, images: ImageStore, config: EvaluationConfig) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in method.state_dict().items()})
        return score_network(method, images, config)

    def look(method: Method, record: Record) -> None:
        assert rank == 0, "files are written by one worker"

    def count(self: Method, batch: Tensor, labels: Tensor) -> ScoreMaps:
        images.append(len(batch))
        return score_maps(self, batch, labels)

    training.evaluate, Method.score_maps = watch, count  # type: ignore[method-assign]
    training.train(TrainConfig.model_validate_json(config_json), Path(folder) / "run", OBJECTIVE, look=look)
    torch.save((seen, sum(images)), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_evaluate_the_same_batch_norm(plain_colours: Path, tmp_path: Path) -> None:
    config = config_of(
        plain_colours,
        16,
        backbone={"name": "tiny", "stride": 8, "width": 4},
        training={"epochs": 2, "batch_size": 4},
        optim={"lr": 0.01},
    )
    run_two_workers(train_as_worker, config.model_dump_json(), str(tmp_path))
    (first, images), (second, others) = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert len(first) == len(second) == 2
    assert (images, others) == (2 * 4, 2 * 3), "each of the seven images is evaluated once"
    for one, other in zip(first, second, strict=True):
        assert any(name.endswith("running_mean") for name in one)
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
    fresh = build.method(config, 2).state_dict()
    assert all(not torch.equal(first[0][name], fresh[name]) for name in fresh if name.endswith("running_mean"))
