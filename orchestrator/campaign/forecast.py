"""Forecasts the time and disk space of a campaign: one training step and one evaluation batch of every cell are
measured where trials run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.table import Table

from orchestrator.cluster.plan import Plan
from orchestrator.console import console
from orchestrator.experiment.model import Experiment
from orchestrator.formats import duration, megabytes
from orchestrator.preflight.forecast import forecast_search
from wsol.pace import paced


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one trial.

    Attributes:
        seconds: computing time of one worker alone.
        checkpoint_bytes: size of one checkpoint.
    """

    seconds: float
    checkpoint_bytes: int


MeasureCost = Callable[[Experiment], Cost]
"""Runs `measure_cost` in this process or on a node with a GPU."""


@dataclass(frozen=True, slots=True)
class Need:
    """The work that is left.

    Attributes:
        trials, epochs: how many are to be trained.
        seconds: computing time of one worker alone.
        disk_bytes: size of the checkpoints that are kept at the end.
    """

    trials: int
    epochs: int
    seconds: float
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Left:
    """The work that is left in a cell.

    Attributes:
        cell: the cell's name.
        experiment: the experiment that its search runs.
        trials: how many trials of its search are left.
        experiment_again: the experiment with which its best trials are trained again.
        again: how many of those trainings are left.
    """

    cell: str
    experiment: Experiment
    trials: int
    experiment_again: Experiment
    again: int


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
    """When the campaign will end, and what the forecast leaves out, in words."""
    seconds = _sum(needs).seconds / plan.workers / plan.concurrent
    end = datetime.now() + timedelta(seconds=seconds)
    return [
        f"{plan.concurrent} at a time, {duration(seconds)} at least: {end:%Y-%m-%d %H:%M}",
        "measuring winners is not included",
    ]


def _sum(needs: Mapping[Any, Need]) -> Need:
    return Need(*(sum(column) for column in zip(*map(astuple, needs.values()), strict=True)))


def need_of_trials(experiment: Experiment, cost: Cost, trials: int) -> Need:
    """The total work of some trials of an experiment."""
    kept = min(trials, experiment.study.keep_checkpoints)
    return Need(trials, trials * experiment.trial.training.epochs, trials * cost.seconds, kept * cost.checkpoint_bytes)


def say_forecast(left: Sequence[Left], measure_at: MeasureCost, plan: Plan) -> None:
    """Print the forecast for the trials that are left; if there are none, nothing is measured.

    Args:
        left: the work that is left in each cell.
        measure_at: where a trial's cost is measured.
        plan: how many run at once.
    """
    waiting = [one for one in left if one.trials or one.again]
    measured = paced(waiting, "measuring a step and evaluated images", len(waiting), "cells")
    needs = {one.cell: _sum_of(one, measure_at) for one in measured}
    console.print(forecast_table(needs, plan))
    for line in forecast_end(needs, plan):
        console.print(line)


def _sum_of(left: Left, measure_at: MeasureCost) -> Need:
    parts = [(left.experiment, left.trials), (left.experiment_again, left.again)]
    if left.experiment == left.experiment_again:
        parts = [(left.experiment, left.trials + left.again)]
    needs = [need_of_trials(experiment, measure_at(experiment), trials) for experiment, trials in parts if trials]
    return _sum(dict(enumerate(needs)))
