"""Who works on a run folder: one process at a time."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.formats import timestamp
from orchestrator.runs import names
from wsol.errors import InputError


def owned(folder: Path) -> FileLock:
    """Lock the study for this process."""
    lock, owner = FileLock(folder / names.LOCK), folder / names.OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = owner.read_text() if owner.exists() else "another process"
        raise InputError(f"{folder}: {who} is working on this study; wait for it or stop it first") from None
    owner.write_text(f"{socket.gethostname()}, process {os.getpid()}, since {timestamp()}")
    return lock


def is_held(folder: Path) -> bool | None:
    """Whether a process of this machine has the study open; None where the lock is another machine's or cannot be
    tried."""
    lock, owner = folder / names.LOCK, folder / names.OWNER
    if not owner.is_file() or not owner.read_text(errors="replace").startswith(f"{socket.gethostname()}, "):
        return None
    if not lock.is_file():  # some versions of filelock remove it on release
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return None
