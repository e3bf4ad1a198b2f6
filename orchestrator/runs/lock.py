"""The lock of a run folder: one process at a time works on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.formats import timestamp
from orchestrator.runs import names
from orchestrator.runs.folder import require_no_run
from wsol.errors import InputError
from wsol.files import write_text


def owned(folder: Path) -> FileLock:
    """Lock a run, or a campaign, for this process.

    Raises:
        InputError: another process works on it; the message says which.
    """
    lock, owner = FileLock(folder / names.LOCK), folder / names.OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = owner.read_text(errors="replace") if owner.exists() else "another process"
        raise InputError(f"{folder}: {who} is working on this study; wait for it or stop it first") from None
    write_text(owner, f"{socket.gethostname()}, process {os.getpid()}, since {timestamp()}")
    return lock


def owned_new(folder: Path) -> FileLock:
    """Lock a folder that is to become a run, before anything is written into it: of two launchers that begin one run
    at the same moment, one goes on.

    Raises:
        InputError: the folder holds a run already, or another process works on it.
    """
    require_no_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = owned(folder)
    try:
        require_no_run(folder)
    except InputError:
        lock.release()
        raise
    return lock


@contextmanager
def locked_new(folder: Path) -> Iterator[FileLock]:
    """`owned_new` as a context manager; the lock is released at its end."""
    lock = owned_new(folder)
    try:
        yield lock
    finally:
        lock.release()


def was_worked_on_here(folder: Path) -> bool:
    """Whether the last process that worked on a run did so on this machine; False for a folder copied from another
    one."""
    owner = folder / names.OWNER
    return owner.is_file() and owner.read_text(errors="replace").startswith(f"{socket.gethostname()}, ")


def is_held(folder: Path) -> bool | None:
    """Whether a process of this machine has the study open; None if the lock belongs to another machine or cannot be
    tested."""
    lock = folder / names.LOCK
    if not was_worked_on_here(folder):
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
