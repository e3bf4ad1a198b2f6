"""Why the process of a trial died, and from where the trial goes on."""

from __future__ import annotations

import contextlib
from pathlib import Path

from orchestrator.runs import names
from orchestrator.study.watchdog import count_hangs
from wsol.checkpoint import Checkpoints


def cause_of_death(folder: Path) -> str:
    """Why the process of the trial in a folder died last: it hung, raised, or was killed."""
    error, hung = folder / names.ERROR, folder / names.HUNG
    if count_hangs(folder) and not (error.exists() and error.stat().st_mtime > hung.stat().st_mtime):
        return f"hung: no epoch ended for too long, {count_hangs(folder)} time(s); where it stood is in {hung}"
    with contextlib.suppress(OSError, IndexError):
        return error.read_text().strip().splitlines()[-1]
    return "its process died without a message (killed, or out of memory)"


def where_it_goes_on(folder: Path) -> str:
    """Where the next process of the trial in a folder of this machine begins, in words."""
    checkpoints = Checkpoints(folder)
    if epochs := checkpoints.epochs_kept():
        return f"goes on from its last checkpoint, of epoch {epochs}"
    lost = "its checkpoints are missing or damaged: " if checkpoints.latest is not None else ""
    return f"{lost}starts again at epoch 1"
