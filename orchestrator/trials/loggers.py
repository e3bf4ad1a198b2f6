"""`study.loggers`: Ray Tune's own callbacks for MLflow and Weights & Biases. Where they write to is set as those
packages want it: `MLFLOW_TRACKING_URI` (else ./mlruns), `WANDB_API_KEY` or `wandb login`, `WANDB_PROJECT`.

Tune's trials carry a task for another process; the callbacks are shown its configuration and, of each epoch, its
record.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from wsol.errors import InputError

PROJECT = "wsol-search"


FACTS = ("epoch", "objective", "objective_now", "seconds")
"""Of an epoch's record, beside what has a slash in its name."""


def require_logger_packages(loggers: Sequence[str]) -> None:
    """Raises InputError if a logger's package is not installed."""
    missing = [name for name in loggers if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"study.loggers: {' and '.join(missing)} can not be imported; install with: pip install {' '.join(missing)}"
        )


def make_loggers(loggers: Sequence[str], study: str) -> list[Any]:
    """Tune's callbacks; a study is an experiment of MLflow, and a group of Weights & Biases."""
    return [_mlflow(study) if name == "mlflow" else _wandb(study) for name in loggers]


def _mlflow(study: str) -> Any:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return _shown_tasks(MLflowLoggerCallback)(experiment_name=study)


def _wandb(study: str) -> Any:
    from ray.air.integrations.wandb import WandbLoggerCallback

    return _shown_tasks(WandbLoggerCallback)(project=os.environ.get("WANDB_PROJECT", PROJECT), group=study)


def _shown_tasks(kind: type[Any]) -> type[Any]:
    """A callback that sees what a reader wants of our trials."""

    class ShownTasks(kind):  # type: ignore[misc]
        def log_trial_start(self, trial: Any) -> None:
            task, trial.config = trial.config, logged_parameters(trial.config)
            try:
                super().log_trial_start(trial)
            finally:
                trial.config = task

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            if "epoch" in result:  # not the last report, which has the outcome
                super().log_trial_result(int(result["epoch"]), trial, logged_metrics(result))

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            super().log_trial_end(trial, failed or "failure" in (trial.last_result or {}))

    return ShownTasks


def logged_parameters(task: dict[str, Any]) -> dict[str, Any]:
    """Dotted path -> value of the configuration in a task (see `orchestrator.trial.to_wire`), and the number of the
    trial."""
    return {"trial": task["number"], **dict(_leaves(json.loads(task["config"]), ""))}


def logged_metrics(result: dict[str, Any]) -> dict[str, Any]:
    """The record of an epoch without what Tune adds to it; the epoch is the step."""
    record = {
        name: value
        for name, value in result.items()
        if (name in FACTS or "/" in name) and isinstance(value, int | float)
    }
    return {**record, "training_iteration": int(result["epoch"])}


def _leaves(values: Any, path: str) -> Iterator[tuple[str, Any]]:
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else None
    if entries is None:
        yield path, values
    for key, value in entries or ():
        yield from _leaves(value, f"{path}.{key}" if path else str(key))
