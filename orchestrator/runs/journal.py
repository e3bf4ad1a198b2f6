"""Opens Optuna's journal in a run folder, without the packages that training needs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from orchestrator.runs import names
from orchestrator.runs.header import read_header
from wsol.errors import InputError, first_line

optuna.logging.set_verbosity(optuna.logging.WARNING)


warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(folder: Path) -> optuna.Study:
    """The Optuna study in a run folder.

    Raises:
        InputError: the folder holds no study, or Optuna cannot read it.
    """
    if not (folder / names.HEADER).exists() or not (folder / names.JOURNAL).exists():
        raise InputError(f"{folder}: holds no study (no {names.HEADER} and {names.JOURNAL}); give the folder of a run")
    name = read_header(folder).study_name
    try:
        return optuna.load_study(study_name=name, storage=open_storage(folder))
    except Exception as error:  # whatever the damage happens to trip
        reason = f"{type(error).__name__}: {first_line(error)}"
        versions = f"see versions in {names.HEADER}"
        hint = f"it is damaged, or of another version ({versions}): go on with that one, or restore a copy"
        raise InputError(
            f"{folder / names.JOURNAL}: Optuna {optuna.__version__} cannot read it ({reason}); {hint}"
        ) from None


def open_storage(folder: Path) -> JournalStorage:
    """Where Optuna keeps the studies of a run folder. Its lock, which guards each line, is an empty file: to remove a
    link with a long target, as it makes them otherwise, takes some disks a millisecond."""
    path = str((folder / names.JOURNAL).absolute())
    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


def repair_journal(folder: Path) -> None:
    """Repair a journal after a process was killed while writing it: remove its lock, for which all others would wait,
    and an unfinished line, to which the next one would be joined. Only the process that owns the study, the only one
    that writes, may call this."""
    journal = folder / names.JOURNAL
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        text = journal.read_bytes()
        if not text.endswith(b"\n"):
            os.truncate(journal, text.rfind(b"\n") + 1)
