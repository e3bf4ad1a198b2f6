"""`study.loggers`: Ray Tune's own callbacks for MLflow and Weights & Biases. Where they write is set by the variables
of those packages: `MLFLOW_TRACKING_URI` (else ./mlruns), `WANDB_API_KEY` or `wandb login`, `WANDB_PROJECT`.

The configuration of a Tune trial is what is sent to another process; the callbacks get the trial's own configuration
instead and, for each epoch, its record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from orchestrator.trials.wire import Assignment, EpochReport, TrialFailed, TrialHalted, decode
from wsol.checkpoint import Record

PROJECT = "wsol-search"

Metrics = dict[str, float]


def make_loggers(loggers: Sequence[str], study: str) -> list[Any]:
    """Tune's callbacks; a study is an experiment of MLflow, and a group of Weights & Biases."""
    return [_mlflow(study) if name == "mlflow" else _wandb(study) for name in loggers]


def _mlflow(study: str) -> Any:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return _seeing_trials(MLflowLoggerCallback, as_files)(experiment_name=study)


def _wandb(study: str) -> Any:
    from ray.air.integrations.wandb import WandbLoggerCallback

    return _seeing_trials(WandbLoggerCallback)(project=os.environ.get("WANDB_PROJECT", PROJECT), group=study)


def _seeing_trials(kind: type[Any], named: Callable[[Metrics], Metrics] = dict) -> type[Any]:
    """A callback of Tune that gets what a reader of its logs looks for, under names that its store accepts."""

    class SeeingTrials(kind):  # type: ignore[misc]
        def log_trial_start(self, trial: Any) -> None:
            sent, trial.config = trial.config, logged_parameters(Assignment.from_plain(trial.config))
            try:
                super().log_trial_start(trial)
            finally:
                trial.config = sent

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            report = decode(result)
            if isinstance(report, EpochReport):
                super().log_trial_result(int(report.record["epoch"]), trial, named(logged_metrics(report.record)))

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            super().log_trial_end(trial, failed or isinstance(decode(trial.last_result), TrialFailed | TrialHalted))

    return SeeingTrials


def logged_parameters(assignment: Assignment) -> dict[str, Any]:
    """Dotted path -> value of the configuration of a trial, and `trial`, its number."""
    return {"trial": assignment.number, **dict(_leaves(json.loads(assignment.config), ""))}


def logged_metrics(record: Record) -> dict[str, float]:
    """The numbers of an epoch's record; the epoch is the step, in Tune's words the training iteration."""
    numbers = {name: value for name, value in record.items() if isinstance(value, int | float)}
    return {**numbers, "training_iteration": int(record["epoch"])}


def as_files(metrics: Metrics) -> Metrics:
    """Metrics under names that can be files in folders, as MLflow keeps them: `train/loss` beside
    `train/loss/classification` becomes `train/loss/value`."""
    folders = {name[:end] for name in metrics for end in range(len(name)) if name[end] == "/"}
    return {f"{name}/value" if name in folders else name: value for name, value in metrics.items()}


def _leaves(values: Any, path: str) -> Iterator[tuple[str, Any]]:
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else None
    if entries is None:
        yield path, values
    for key, value in entries or ():
        yield from _leaves(value, f"{path}.{key}" if path else str(key))
