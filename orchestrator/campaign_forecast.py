"""What a campaign will take, told before it starts: one training step and one evaluation batch of every cell are measured where trials run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table

from orchestrator.experiment import Experiment
from orchestrator.progress import duration

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.cluster import Plan


@dataclass(frozen=True, slots=True)
class Cost:
    """What one trial takes.

    Attributes:
        seconds: of one worker alone.
        checkpoint_bytes: of one checkpoint.
    """

    seconds: float
    checkpoint_bytes: int


@dataclass(frozen=True, slots=True)
class Need:
    """What is still to be done.

    Attributes:
        trials, epochs: to be trained.
        seconds: of one worker alone.
        disk_bytes: of checkpoints at the end.
    """

    trials: int
    epochs: int
    seconds: float
    disk_bytes: int


def measure_cost(request: dict[str, Any]) -> dict[str, Any]:
    """The cost of a trial of `experiment`, JSON, measured in this process. `directory` is where relative paths start."""
    os.chdir(request.get("directory", "."))
    cost = _cost_of_a_trial(Experiment.model_validate_json(request["experiment"], strict=False))
    return {"seconds": cost.seconds, "checkpoint_bytes": cost.checkpoint_bytes}


def forecast_table(needs: Mapping[str, Need], plan: Plan) -> Table:
    """A line for each cell and one for all of them."""
    table = Table(box=None, pad_edge=False, title="forecast", title_justify="left", title_style="bold")
    table.add_column("cell", no_wrap=True)
    for title in ("trials", "epochs", f"{'GPU' if plan.gpus else 'CPU'} time", "disk"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, need in {**needs, "all": _sum(needs)}.items():
        used = duration(need.seconds * (plan.gpus or plan.cpus))
        table.add_row(name, str(need.trials), str(need.epochs), used, f"{need.disk_bytes / 1e9:.1f} GB")
    return table


def forecast_end(needs: Mapping[str, Need], plan: Plan) -> list[str]:
    """When it will be done, and what is not in the forecast, in words."""
    seconds = _sum(needs).seconds / plan.workers / plan.concurrent
    end = datetime.now() + timedelta(seconds=seconds)
    return [f"{plan.concurrent} at a time, {duration(seconds)} at least: {end:%Y-%m-%d %H:%M}", "finding boxes and measuring winners is not in it"]


def _sum(needs: Mapping[str, Need]) -> Need:
    return Need(*(sum(column) for column in zip(*map(astuple, needs.values()), strict=True)))


def measured(experiment: Experiment, measure_at: Callable[[dict[str, Any]], dict[str, Any]], folder: Path) -> Cost:
    """The cost of a trial where `measure_at` calls `measure_cost`; `folder` is any that exists there."""
    return Cost(**measure_at({"folder": str(folder), "experiment": experiment.model_dump_json()}))


def need(experiment: Experiment, cost: Cost, trials: int) -> Need:
    """What so many trials need."""
    kept = min(trials, experiment.study.keep_checkpoints)
    return Need(trials, trials * experiment.trial.training.epochs, trials * cost.seconds, kept * cost.checkpoint_bytes)


def _cost_of_a_trial(experiment: Experiment) -> Cost:
    """Seconds of a trial without decoding images and finding boxes, at the last step of training: parts that start late are running by then."""
    import torch

    from wsol import build, distributed
    from wsol.evaluation import evaluation_mode
    from wsol.optim import build_optimizer
    from wsol.training import autocast
    from wsol.types import Batch, Progress

    config, device = experiment.trial, distributed.device()
    dataset = build.dataset(config.data)
    images = {split: len(build.split(dataset, split, config.data)) for split in ("train_weaksup", "train_fullsup")}
    size, epochs = config.data.image_size, config.training.epochs
    batch_size = min(config.training.batch_size, images["train_weaksup"])
    steps = -(-images["train_weaksup"] // batch_size)
    method = build.bare_method(config, dataset.num_classes).to(device)
    optimizer = build_optimizer(method, config.optim)

    def batch(count: int) -> Batch:
        labels = torch.arange(count) % dataset.num_classes
        return Batch(torch.randn(count, 3, size, size).to(device), labels.to(device), tuple(map(str, range(count))))

    def step() -> None:
        method.train()
        with autocast(config.training.precision, device):
            terms = method(batch(batch_size), Progress(epochs, epochs, epochs * steps - 1, epochs * steps))
        optimizer.zero_grad(set_to_none=True)
        torch.stack([term.float() for term in terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def look() -> None:
        few = batch(min(config.evaluation.batch_size, images["train_fullsup"]))
        with evaluation_mode(method):
            build.extractor(config.evaluation)(method, few.images, few.labels)

    looks = -(-images["train_fullsup"] // config.evaluation.batch_size)
    seconds = epochs * (steps * _seconds(step) + looks * _seconds(look))
    weights = sum(value.numel() * value.element_size() for value in method.state_dict().values())
    return Cost(seconds, 2 * weights)  # the optimizer's momentum is as large


def _seconds(call: Callable[[], None]) -> float:
    """Of the second of two calls: the first one makes what the others find."""
    import torch

    started = 0.0
    for _ in range(2):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
