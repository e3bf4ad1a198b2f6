"""Decides which running trials are stopped early: the pruners behind `study.scheduler`, of Optuna and our own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import optuna

from orchestrator.experiment.grace import grace_epochs
from orchestrator.experiment.model import Experiment
from orchestrator.runs.by_image import ImageNumbers
from orchestrator.study.race import Race
from orchestrator.study.samplers import Arguments

DEFAULT_RISK = 0.05
"""Of `race`, if `study.risk` does not say otherwise."""


def scheduler_arguments(experiment: Experiment) -> Arguments:
    """The arguments of the scheduler's pruner, recorded in the header; nothing is stopped before the grace period
    ends."""
    grace, factor, risk = grace_epochs(experiment), experiment.study.reduction_factor, experiment.study.risk
    longest = int(experiment.extent("training.epochs")[1])
    arguments: dict[str, Arguments] = {
        "none": {},
        "asha": {"min_resource": grace, "reduction_factor": factor, "min_early_stopping_rate": 0, "bootstrap_count": 0},
        "median": {"n_startup_trials": 5, "n_warmup_steps": grace, "interval_steps": 1, "n_min_trials": 1},
        "hyperband": {
            "min_resource": grace,
            "max_resource": experiment.trial.training.epochs,
            "reduction_factor": factor,
            "bootstrap_count": 0,
        },
        "race": {
            "grace_epochs": grace,
            "risk": DEFAULT_RISK if risk is None else risk,
            "looks": max(longest - grace, 1),
        },
    }
    return arguments[experiment.study.scheduler]


def make_pruner(scheduler: str, arguments: Arguments, images: ImageNumbers) -> optuna.pruners.BasePruner:
    """The pruner, which decides by the values in the journal, and for `race` by those of single images, whether a trial
    is stopped, so that a resumed study decides as before; without a scheduler, one that stops none."""
    pruners = optuna.pruners
    kinds: dict[str, Callable[..., optuna.pruners.BasePruner]] = {
        "none": pruners.NopPruner,
        "asha": pruners.SuccessiveHalvingPruner,
        "median": pruners.MedianPruner,
        "hyperband": pruners.HyperbandPruner,
        "race": partial(Race, images),
    }
    return kinds[scheduler](**arguments)
