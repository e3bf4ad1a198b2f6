"""Runs a single training without Ray, in this process and the other processes of torchrun."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.console import console
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.runs.folder import trial_folder, write_trials
from orchestrator.runs.store import store_of_run
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from orchestrator.trials.causes import begins_without_its_checkpoints
from orchestrator.trials.interrupt import interruptible
from orchestrator.trials.progress import SearchProgress
from wsol.errors import Diverged, InputError


def train_together(study: Study | None, folder: Path, experiment: Experiment) -> None:
    """Train the only trial of a study without Ray, in this process and the other processes of torchrun.

    Args:
        study: the run's study, which the first process has and the others do not.
        folder: the run folder; the first process alone writes into it.
        experiment: the run's experiment.

    Raises:
        KeyboardInterrupt: the user stopped it; it stays resumable.
        RunFailed: a disk is full; it stays resumable.
    """
    import torch

    from wsol import distributed
    from wsol.training import train

    task = study.ask() if study else None
    # All processes wait here: the first one has checked the input by now.
    if not distributed.sum_over_workers(torch.tensor(int(task is not None))):
        return
    if study is None:
        with contextlib.suppress(Diverged):  # the first process says so
            settings = post_hoc_settings(experiment.trial, experiment.chosen_by_trials)
            train(
                experiment.trial,
                trial_folder(folder, 0),
                experiment.study.objectives[0],
                settings=[config for _, config in settings],
            )
        return
    assert task is not None  # else the sum were 0
    console.print(f"training {folder}; watch it with: tensorboard --logdir {folder.parent}")
    alone = distributed.world() == 1  # torchrun ends the other processes at once
    with interruptible(folder, finish_epochs=alone) as stopped:
        _train_task(study, task, folder, stopped.is_set)


def _train_task(study: Study, task: Task, folder: Path, stopped: Callable[[], bool]) -> None:
    from orchestrator.trials.epoch_log import EpochLog
    from wsol.training import train

    progress = SearchProgress(1, task.config.training.epochs, console=console)
    mirror = store_of_run(folder, study.experiment)
    started = time.perf_counter()
    worker = f"process {os.getpid()}"

    def report(record: dict[str, float]) -> None:
        study.report(task.number, record)
        if mirror is not None:
            mirror.push_all()
        progress.epoch(task.number, record)
        if stopped():
            raise KeyboardInterrupt

    settings = post_hoc_settings(task.config, task.post_hoc)
    configs = [config for _, config in settings]
    if lost := begins_without_its_checkpoints(task.folder):
        progress.note(lost)
    try:
        with progress, EpochLog(task.folder, settings, writes=True) as log:
            history = train(task.config, task.folder, task.objective, report, log, configs)
    except (Diverged, InputError) as error:
        study.fail(task.number, str(error), time.perf_counter() - started, worker)
    else:
        study.complete(task.number, history, time.perf_counter() - started, worker)
    finally:
        write_trials(folder, study.trials())
