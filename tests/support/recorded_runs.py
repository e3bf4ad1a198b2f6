"""Run folders of searches that never ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.support.tiny import OBJECTIVE

REASON = 'ValueError: <script>alert("map & box")</script>'


def make_run(folder: Path, **header: Any) -> optuna.Study:
    """A run folder with a study and no trial."""
    folder.mkdir(parents=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    info = {
        "study_name": "crop",
        "name": "crop",
        "objective": OBJECTIVE,
        "started": "2026-01-05T10:00:00+00:00",
        "ended": None,
        "trials": 20,
    }
    machine = {"host": "node-7", "cpus": 8, "gpus": 1, "memory_gb": 64.0}
    told = {
        "command": "python launch.py search crop.yaml",
        "git": {"commit": "3f2b1c9e7a5d4c3b", "dirty": True},
        "machine": machine,
    }
    (folder / "study.json").write_text(
        json.dumps({**info, **told, "versions": {"torch": "2.15.0"}, "seed": 3, "sampler": "tpe", **header})
    )
    return optuna.create_study(
        study_name="crop", storage=storage, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )


def start_trial(study: optuna.Study, values: tuple[float, ...] = ()) -> optuna.Trial:
    """A trial with four parameters, one of them conditional, that is still running."""
    trial = study.ask()
    trial.suggest_float("optim.lr", 1e-5, 1e-1, log=True)
    trial.suggest_int("method.cell_size", 8, 64)
    if trial.suggest_categorical("evaluation.normalizer.name", ["min_max", "pas"]) == "pas":
        trial.suggest_float("evaluation.normalizer.percentile", 50, 100)
    trial.set_user_attr("started", "2026-01-05T10:00:00+00:00")
    for epoch, value in enumerate(values, 1):
        trial.report(value, epoch)
    return trial


def complete_trial(study: optuna.Study, value: float, **measured: float) -> None:
    """A trial that reached `value` in the second of three epochs, where more was measured."""
    trial = start_trial(study, (value - 5, value, value - 1))
    metrics = {OBJECTIVE: value, "train_fullsup/top1/cls": 77.125, "train/loss": 0.5, "epoch": 2, **measured}
    for name, content in {
        "seconds": 61.5,
        "epochs": 3,
        "best_epoch": 2,
        "metrics": metrics,
        "ended": "2026-01-05T10:01:00+00:00",
    }.items():
        trial.set_user_attr(name, content)
    study.tell(trial, value)


def fail_trial(study: optuna.Study, reason: str = REASON) -> None:
    """A trial that failed."""
    trial = start_trial(study)
    trial.set_user_attr("failure", reason)
    study.tell(trial, state=TrialState.FAIL)
