"""Finds out why the process of a trial died, and where the trial continues."""

from __future__ import annotations

import contextlib
from pathlib import Path

from orchestrator.runs import names
from orchestrator.study.watchdog import count_hangs
from wsol.checkpoint import Checkpoints
from wsol.errors import InputError

LOST = "its checkpoints are missing or damaged: starts again at epoch 1"


def cause_of_death(folder: Path) -> str:
    """The reason why the process of the trial in a folder died last: it hung, raised an exception, or was killed."""
    error, hung = folder / names.ERROR, folder / names.HUNG
    if count_hangs(folder) and not (error.exists() and error.stat().st_mtime > hung.stat().st_mtime):
        return f"hung: no epoch ended for too long, {count_hangs(folder)} time(s); where it stood is in {hung}"
    with contextlib.suppress(OSError, IndexError):
        return error.read_text().strip().splitlines()[-1]
    return "its process died without a message (killed, or out of memory)"


def where_it_goes_on(folder: Path) -> str:
    """Where the next process of the trial in a folder on this machine will begin, in words."""
    try:
        checkpoints = Checkpoints(folder)
    except (InputError, ValueError):  # its process will say what is wrong with them
        return "is started again"
    if epochs := checkpoints.epochs_kept():
        return f"goes on from its last checkpoint, of epoch {epochs}"
    return LOST if checkpoints.latest is not None else "starts again at epoch 1"


def begins_without_its_checkpoints(folder: Path) -> str | None:
    """A remark that the earlier epochs of a trial that is about to begin are lost; None if they are not."""
    return LOST if where_it_goes_on(folder) == LOST else None
