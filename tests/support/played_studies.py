"""Studies whose trials are played instead of trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.study.study import Study
from tests.support.studies import rising
from wsol.config import TrainConfig

Curve = Callable[[TrainConfig], list[float]]


def run(study: Study, curve: Curve = rising, limit: int = 1000, epochs: int | None = None) -> list[int]:
    """Run trials one after the other; `epochs` cuts the last one off as a crash would. Returns how many epochs each
    ran."""
    ran: list[int] = []
    while len(ran) < limit and (task := study.ask()) is not None:
        history: list[dict[str, float]] = []
        stopped = False
        for epoch, value in enumerate(curve(task.config), start=1):
            record = {
                "epoch": epoch,
                "objective_now": value,
                "train_fullsup/max_box_acc_v2": value,
                "train_fullsup/top1/top1_cls": 100 - value,
            }
            history.append(record)
            stopped = study.report(task.number, record)
            if stopped or (len(ran) == limit - 1 and epoch == epochs):
                break
        ran.append(len(history))
        if stopped:
            study.prune(task.number, 1.0, "here")
        elif epochs is None or len(ran) < limit:
            study.complete(task.number, history, 1.0, "here")
    return ran


def plain_optuna(folder: Path) -> optuna.Study:
    """The journal as any program of Optuna's opens it."""
    return optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))))


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in plain_optuna(folder).trials]
