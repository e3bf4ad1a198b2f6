"""Decides which running trials are stopped early: the Optuna pruners behind `study.scheduler`."""

from __future__ import annotations

import optuna

from orchestrator.experiment.grace import grace_epochs
from orchestrator.experiment.model import Experiment
from orchestrator.study.samplers import Arguments


def scheduler_arguments(experiment: Experiment) -> Arguments:
    """The arguments of the scheduler's pruner, recorded in the header; nothing is stopped before the grace period
    ends."""
    grace, factor = grace_epochs(experiment), experiment.study.reduction_factor
    return {
        "none": {},
        "asha": {"min_resource": grace, "reduction_factor": factor, "min_early_stopping_rate": 0, "bootstrap_count": 0},
        "median": {"n_startup_trials": 5, "n_warmup_steps": grace, "interval_steps": 1, "n_min_trials": 1},
        "hyperband": {
            "min_resource": grace,
            "max_resource": experiment.trial.training.epochs,
            "reduction_factor": factor,
            "bootstrap_count": 0,
        },
    }[experiment.study.scheduler]


def make_pruner(scheduler: str, arguments: Arguments) -> optuna.pruners.BasePruner | None:
    """The pruner, which decides by the values in the journal whether a trial is stopped, so that a resumed study
    decides as before; None without a scheduler."""
    pruners = optuna.pruners
    kinds: dict[str, type] = {
        "asha": pruners.SuccessiveHalvingPruner,
        "median": pruners.MedianPruner,
        "hyperband": pruners.HyperbandPruner,
    }
    pruner: pruners.BasePruner | None = kinds[scheduler](**arguments) if scheduler in kinds else None
    return pruner
