"""Begins a study, either in a new run folder or as a preview that writes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from filelock import FileLock

from orchestrator.experiment.load import Loaded
from orchestrator.experiment.model import Experiment
from orchestrator.runs import names
from orchestrator.runs.folder import create_run, open_experiment
from orchestrator.runs.header import RunHeader, write_header
from orchestrator.runs.journal import open_storage, repair_journal
from orchestrator.runs.lock import owned_new
from orchestrator.study.points import Candidate, published_points
from orchestrator.study.pruners import scheduler_arguments
from orchestrator.study.samplers import SAMPLERS
from orchestrator.study.study import Study
from orchestrator.study.task import Task


def begin_study(
    folder: Path, loaded: Loaded, kind: str, points: Sequence[Candidate] | None = None, **facts: Any
) -> Study:
    """Make a run folder and begin its study. The folder is locked first, so that of two launchers one goes on.

    Args:
        folder: must not hold a run.
        loaded: the experiment, after overrides.
        kind: see `RunHeader`.
        points: the points that are tried first; by default `trial` and the named points of the experiment.
        facts: entries of the header that only the caller knows.

    Raises:
        InputError: the folder holds a run, or another process works on it; nothing was written.
    """
    lock = owned_new(folder)
    try:
        return create_study(folder, loaded.experiment, create_run(folder, loaded, kind, **facts), points, lock)
    except BaseException:
        lock.release()
        raise


def open_or_begin(
    folder: Path, loaded: Loaded, kind: str, points: Sequence[Candidate] | None = None, **facts: Any
) -> Study:
    """Open the study of a run folder, and begin it if there is none; see `begin_study`."""
    if (folder / names.HEADER).exists():
        return Study(folder, open_experiment(folder))
    return begin_study(folder, loaded, kind, points, **facts)


def create_study(
    folder: Path,
    experiment: Experiment,
    header: RunHeader,
    candidates: Sequence[Candidate] | None = None,
    lock: FileLock | None = None,
) -> Study:
    """Enqueue the points that are tried first, then write the header, which makes the folder a run.

    Args:
        folder: the run folder.
        experiment: the experiment that is searched.
        header: `study.json`.
        candidates: by default `trial` and the named points of the experiment.
        lock: the folder's lock, where this process holds it already.

    Raises:
        InputError: the folder holds a run, or another process works on it.
    """
    lock = lock or owned_new(folder)
    (folder / names.JOURNAL).unlink(missing_ok=True)  # of a beginning that was cut off
    repair_journal(folder)
    directions = [optuna.study.StudyDirection.MAXIMIZE] * len(experiment.study.objectives)
    study = optuna.create_study(study_name=header.study_name, storage=open_storage(folder), directions=directions)
    for candidate in published_points(experiment) if candidates is None else candidates:
        study.enqueue_trial(candidate.params, user_attrs=candidate.attributes())
    header = dataclasses.replace(
        header,
        sampler_arguments=SAMPLERS[experiment.study.sampler],
        scheduler_arguments=scheduler_arguments(experiment),
        post_hoc=experiment.chosen_by_trials or None,
    )
    write_header(folder, header)
    return Study(folder, experiment, lock)


def preview(experiment: Experiment, count: int) -> list[Task]:
    """The first points that a study would draw, as long as no trial has an outcome."""
    with TemporaryDirectory() as folder:
        study = create_study(Path(folder), experiment, RunHeader("preview"))
        tasks = [task for _ in range(count) if (task := study.ask()) is not None]
        study.close()
    return tasks
