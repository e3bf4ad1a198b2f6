"""The training loop, the only one: bare, under torchrun, in a Tune actor and in Ray Train workers.

for every epoch                        on all workers:
    for every batch                    a share of the global batch
        method(batch, progress)        -> named loss terms -> sum -> step
    evaluate on train_fullsup          a share of the images, exact sums
    look(method, record)               rank 0: before the checkpoint, so that no curve has a gap if the process dies
    checkpoint                         rank 0: the latest and the best
    report(record)                     equal records on all workers
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from wsol import build, distributed, supervision
from wsol.by_image import evaluate_by_image
from wsol.checkpoint import Checkpoints, Record
from wsol.config import TrainConfig
from wsol.console import say_once
from wsol.data.images import ImageStore
from wsol.data.loading import TrainLoader, smallest_share, to_batch
from wsol.errors import Diverged, InputError
from wsol.evaluation import evaluate
from wsol.method import Method
from wsol.ops.boxes import Floats
from wsol.optim import build_optimizer, restore_optimizer, set_learning_rates
from wsol.placement import place
from wsol.post_hoc import scored_best
from wsol.types import Progress

SELECTION_SPLIT = "train_fullsup"
STEPS_BETWEEN_CHECKS = 50  # reading the loss waits for the GPU, so not every step


def train(
    config: TrainConfig,
    folder: Path,
    objective: str,
    report: Callable[[Record], None] = lambda record: None,
    look: Callable[[Method, Record], None] = lambda method, record: None,
    settings: Sequence[TrainConfig] = (),
    by_image: Callable[[Floats], None] | None = None,
) -> list[Record]:
    """Train one configuration, or continue where an interrupted run in the same folder stopped.

    The random state of an epoch is a function of (seed, epoch, rank), so an interrupted and resumed run ends with the
    numbers of an uninterrupted one.

    Args:
        config: the configuration to train.
        folder: the folder of the checkpoints, the same on all workers.
        objective: `train_fullsup/<metric>`; the epoch with the highest value gives the best checkpoint, unless
            `training.checkpoint` chooses the last one.
        report: called on every worker after every epoch, when its checkpoint is on the disk.
        look: called before the checkpoint on the first worker, with the trained method; must change nothing. An epoch
            that a killed process did not save is trained and passed to `look` again.
        settings: the configuration itself and after it others that change no weight: every epoch is scored under all of
            them, and its record has the metrics of the best one, see `wsol/post_hoc.py`. None: only as configured.
        by_image: called on every worker before `report` with what each image of train_fullsup adds to the objective,
            see `wsol/by_image.py`; only without `settings`.

    Returns:
        One record per epoch. The best checkpoint is the one that `Checkpoints(folder).best` names.

    Raises:
        InputError: data, weights or configuration cannot be used.
        Diverged: the loss is not finite.
    """
    checkpoints = Checkpoints(folder, config)
    if len(checkpoints.history) == config.training.epochs:
        return checkpoints.history

    method, trained, scored = _prepare(config)
    optimizer = build_optimizer(method, config.optim)
    history = _restore(checkpoints, method, optimizer)
    step = distributed.wrap(method)
    loader = build_loader(trained, method, config)

    for epoch in range(len(history) + 1, config.training.epochs + 1):
        started = time.perf_counter()
        record = train_epoch(step, method, optimizer, loader, epoch, config)
        record.update(_evaluated(method, scored, settings or [config], objective, by_image))
        record["seconds"] = time.perf_counter() - started
        record, best = _rank(record, history, objective, config.training.checkpoint)
        history = [*history, record]
        if distributed.is_main():
            look(method, record)
            checkpoints.save({"method": method.state_dict(), "optimizer": optimizer.state_dict()}, record, best=best)
        report(record)
    if distributed.is_main():
        checkpoints.drop_latest()
    return history


def _prepare(config: TrainConfig) -> tuple[Method, ImageStore, ImageStore]:
    """The method with its first weights, the same on all workers, and the images that it trains on and is selected
    by."""
    with distributed.agreed():
        dataset = build.dataset(config.data)
        trained = supervision.training_images(dataset, config)
        scored = supervision.scored_images(dataset, SELECTION_SPLIT, config)
        _seed(config.seed)
        method = build.method(config, dataset.num_classes)
    return place(method), trained, scored


def train_epoch(
    step: nn.Module,
    method: Method,
    optimizer: torch.optim.Optimizer,
    loader: TrainLoader,
    epoch: int,
    config: TrainConfig,
) -> Record:
    """One pass over the training images: mean loss terms, learning rate of each parameter group, images per second."""
    backbone, device = method.network.backbone, distributed.device()
    set_learning_rates(optimizer, epoch, config.optim)
    _seed(config.seed, epoch, distributed.rank())
    method.train()
    losses, images, steps, started = _Losses(), 0, len(loader), time.perf_counter()
    for index, raw in enumerate(loader.epoch(epoch)):
        batch = to_batch(raw, device, backbone.pixel_mean, backbone.pixel_std, backbone.memory_format)
        progress = Progress(epoch, config.training.epochs, (epoch - 1) * steps + index, config.training.epochs * steps)
        with autocast(config.training.precision, device):
            terms = step(batch, progress)
        optimizer.zero_grad(set_to_none=True)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        (loss * raw.weight).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # A worker without images in the last batch repeats one, for nothing.
        share = len(batch.labels) if raw.weight > 0 else 0
        losses.add(terms, share)
        images += share
        if (index + 1) % STEPS_BETWEEN_CHECKS == 0:
            losses.means(epoch, config.optim.lr)
    distributed.broadcast_buffers(method)
    means = losses.means(epoch, config.optim.lr)
    seconds = time.perf_counter() - started
    total = float(distributed.sum_over_workers(torch.tensor(images)))
    rates = {f"train/lr/{group['group']}": float(group["lr"]) for group in optimizer.param_groups}
    return {
        **means,
        "train/lr": float(optimizer.param_groups[0]["lr"]),
        **rates,
        "train/images_per_second": total / seconds,
    }


def _evaluated(
    method: Method,
    images: ImageStore,
    settings: Sequence[TrainConfig],
    objective: str,
    by_image: Callable[[Floats], None] | None,
) -> Record:
    """The metrics of an epoch, and, if there are several settings, the setting that they belong to; `by_image` gets the
    numbers of single images."""
    name, choice = objective.removeprefix(f"{SELECTION_SPLIT}/"), dict[str, float]()
    if len(settings) > 1:
        metrics, choice = scored_best(method, images, settings, name)
    elif by_image is not None:
        metrics, numbers = evaluate_by_image(method, images, settings[0].evaluation, name)
        by_image(numbers)
    else:
        metrics = evaluate(method, images, settings[0].evaluation)
    return {**{f"{SELECTION_SPLIT}/{name}": value for name, value in metrics.items()}, **choice}


class _Losses:
    """Running means of the loss terms over the images of all workers, kept on the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.images = 0

    def add(self, terms: dict[str, Tensor], images: int) -> None:
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=term.device)) + (
                term.detach().float() * images if images else 0.0
            )
        self.images += images

    def means(self, epoch: int, lr: float) -> Record:
        """`train/loss` and `train/loss/<term>`.

        Raises:
            Diverged: a term is not finite; on all workers at the same step, so none waits for another.
        """
        names = sorted(self.sums)
        sums = torch.stack(
            [self.sums[name].double() for name in names]
            + [torch.tensor(float(self.images), device=self.sums[names[0]].device)]
        )
        *values, images = distributed.sum_over_workers(sums.cpu()).tolist()
        means = {f"train/loss/{name}": value / images for name, value in zip(names, values, strict=True)}
        for name, value in means.items():
            if not torch.isfinite(torch.tensor(value)):
                raise Diverged(
                    f"{name} became {value} in epoch {epoch} at optim.lr {lr:g}: training diverged; a lower rate may"
                    " help"
                )
        return {"train/loss": sum(means.values()), **means}


def _rank(record: Record, history: list[Record], objective: str, checkpoint: str) -> tuple[Record, bool]:
    """Add to the record the objective of this epoch and of the one whose weights count so far; returns whether it is
    this one. The first of equal epochs wins."""
    if objective not in record:
        measured = ", ".join(name for name in record if name.startswith(SELECTION_SPLIT))
        raise InputError(f"study.objective: {objective!r} is not measured by evaluation.metrics; there are {measured}")
    now, former = record[objective], history[-1]["objective"] if history else math.nan
    best = checkpoint == "last" or now > former or math.isnan(former)  # an objective may be undefined at first
    return {"epoch": len(history) + 1, "objective": now if best else former, "objective_now": now, **record}, best


def _restore(checkpoints: Checkpoints, method: Method, optimizer: torch.optim.Optimizer) -> list[Record]:
    found = checkpoints.newest_intact()
    lost = f"{checkpoints.folder}: its last checkpoint is missing or damaged;"
    if found is None:
        if checkpoints.latest is not None:
            say_once(f"{lost} the training starts again at epoch 1")
        return []
    state, history = found
    if checkpoints.latest is not None and len(history) < checkpoints.latest.epoch:
        say_once(f"{lost} the training goes on from the one of epoch {len(history)}")
    method.load_state_dict(state["method"])
    restore_optimizer(optimizer, state["optimizer"])
    return history


def build_loader(images: ImageStore, method: Method, config: TrainConfig) -> TrainLoader:
    """The loader of this worker's share of the training images. A last batch from which batch norm could not learn is
    left out, with a note to the user.

    Raises:
        InputError: batch norm could not learn from any batch, or the sizes do not fit.
    """
    count, batch_size, world = len(images.split), config.training.batch_size, distributed.world()
    single = smallest_share(count, batch_size, world) == 1
    loader = TrainLoader(
        images.split,
        images,
        batch_size=batch_size,
        image_size=config.data.image_size,
        resize_size=config.data.resize_size,
        seed=config.seed,
        rank=distributed.rank(),
        world=world,
        least=2 if single and not _learns_from_one_image(method, config.data.image_size) else 1,
        with_targets=config.uses_boxes,
    )
    if loader.left_out and distributed.is_main():
        say_once(
            f"training.batch_size {batch_size}: the last batch of every epoch is left out, {loader.left_out} of {count}"
            " images: a worker has one of them, its map is a single cell, and batch norm cannot learn from that"
        )
    return loader


def _learns_from_one_image(method: Method, side: int) -> bool:
    """Whether the backbone can be trained on a batch of one image; batch norm needs two numbers of each channel."""
    copied = deepcopy(method).train()  # the passes of training change its statistics
    try:
        with torch.no_grad():
            copied.network.backbone(torch.zeros(1, 3, side, side, device=distributed.device()))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return False
    return True


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast if the configuration asks for it; `auto` does on a GPU."""
    wanted = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else nullcontext()


def _seed(seed: int, epoch: int = 0, rank: int = 0) -> None:
    """Random state of one epoch of one worker; the multipliers only keep the three numbers apart."""
    torch.manual_seed((seed * 1_000_003 + epoch) * 1_009 + rank)
