"""What a campaign will take, told before it starts: one training step and one evaluation batch of every cell are
measured where trials run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta

from rich.table import Table

from orchestrator.campaign.model import CampaignCell
from orchestrator.cluster.plan import Plan
from orchestrator.console import console
from orchestrator.experiment.model import Experiment
from orchestrator.formats import duration, megabytes
from orchestrator.preflight.forecast import forecast_search


@dataclass(frozen=True, slots=True)
class Cost:
    """What one trial takes.

    Attributes:
        seconds: of one worker alone.
        checkpoint_bytes: of one checkpoint.
    """

    seconds: float
    checkpoint_bytes: int


MeasureCost = Callable[[Experiment], Cost]
"""Runs `measure_cost` somewhere: here, or on a node with a GPU."""


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


def measure_cost(experiment: Experiment) -> Cost:
    """The cost of a trial, measured in this process."""
    made = forecast_search(experiment)
    return Cost(made.seconds_per_trial * made.workers, made.checkpoint_bytes)


def forecast_table(needs: Mapping[str, Need], plan: Plan) -> Table:
    """A line for each cell and one for all of them."""
    table = Table(box=None, pad_edge=False, title="forecast", title_justify="left", title_style="bold")
    table.add_column("cell", no_wrap=True)
    for title in ("trials", "epochs", f"{'GPU' if plan.gpus else 'CPU'} time", "disk"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, need in {**needs, "all": _sum(needs)}.items():
        used = duration(need.seconds * (plan.gpus or plan.cpus))
        table.add_row(name, str(need.trials), str(need.epochs), used, megabytes(need.disk_bytes))
    return table


def forecast_end(needs: Mapping[str, Need], plan: Plan) -> list[str]:
    """When it will be done, and what is not in the forecast, in words."""
    seconds = _sum(needs).seconds / plan.workers / plan.concurrent
    end = datetime.now() + timedelta(seconds=seconds)
    return [
        f"{plan.concurrent} at a time, {duration(seconds)} at least: {end:%Y-%m-%d %H:%M}",
        "measuring winners is not in it",
    ]


def _sum(needs: Mapping[str, Need]) -> Need:
    return Need(*(sum(column) for column in zip(*map(astuple, needs.values()), strict=True)))


def need_of_trials(experiment: Experiment, cost: Cost, trials: int) -> Need:
    """What some trials of an experiment need in all."""
    kept = min(trials, experiment.study.keep_checkpoints)
    return Need(trials, trials * experiment.trial.training.epochs, trials * cost.seconds, kept * cost.checkpoint_bytes)


def say_forecast(left: list[tuple[CampaignCell, int]], measure_at: MeasureCost, plan: Plan) -> None:
    """Print what the trials that are left need.

    Args:
        left: each cell with the number of its trials that are left; where there are none, nothing is measured.
        measure_at: where a trial's cost is measured.
        plan: how many run at once.
    """
    needs = {
        cell.name: need_of_trials(cell.experiment, measure_at(cell.experiment), trials)
        for cell, trials in left
        if trials
    }
    console.print(forecast_table(needs, plan))
    for line in forecast_end(needs, plan):
        console.print(line)
