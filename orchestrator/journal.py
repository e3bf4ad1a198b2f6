"""Optuna's journal in a run folder, opened by whoever wants to read it; without the packages that training needs."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from wsol.errors import InputError

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(folder: Path) -> optuna.Study:
    """The Optuna study in a run folder.

    Raises:
        InputError: the folder holds no study.
    """
    header = folder / "study.json"
    if not header.exists() or not (folder / "study.journal").exists():
        raise InputError(f"{folder}: holds no study (no study.json and study.journal); give the folder of a run")
    return optuna.load_study(study_name=json.loads(header.read_text())["study_name"], storage=open_storage(folder))


def open_storage(folder: Path) -> JournalStorage:
    """Where Optuna keeps the studies of a run folder."""
    return JournalStorage(JournalFileBackend(str(folder / "study.journal")))


def trial_folder(folder: Path, number: int) -> Path:
    """Where the files of a trial are."""
    return folder / "trials" / f"{number:04d}"
