"""Full disks: how they show in an error, and in words."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

SCARCE_BYTES = 2**20
"""With less than this a disk counts as full: neither a checkpoint nor a journal can be written."""


def full_disk(*folders: Path) -> str | None:
    """The first of some folders whose disk is full, in words; None where all have room."""
    for folder in folders:
        found = existing(folder)
        free = os.statvfs(found)
        if free.f_bavail * free.f_frsize < SCARCE_BYTES or (free.f_files and not free.f_favail):
            return in_words(found)
    return None


def full_disk_of(error: BaseException, *folders: Path) -> str | None:
    """What an error says of a full disk, in words; None where it is another error.

    Args:
        error: with those that it was raised from, or while.
        folders: where the program writes. Libraries that say no reason are believed when one of their disks is full.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            named = Path(os.fsdecode(cause.filename)) if isinstance(cause.filename, str | bytes) else None
            return full_disk(*folders) or in_words(existing(named or next(iter(folders), Path.cwd())))
    return full_disk(*folders)


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """A library writes into a folder in the block and does not say why it cannot, as torch does. For as long as what it
    wrote is there, the disk tells.

    Raises:
        OSError: the disk is full; with its number, ENOSPC.
    """
    try:
        yield
    except RuntimeError as error:
        if full_disk(folder) is None:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def in_words(folder: Path) -> str:
    """One line: on which machine which disk is full."""
    return f"{socket.gethostname()}: the disk of {folder} is full; free some space"


def existing(path: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())


def _causes(error: BaseException) -> list[BaseException]:
    """An error, and those that it was raised from or while."""
    found: list[BaseException] = []
    left: BaseException | None = error
    while left is not None and left not in found:
        found.append(left)
        left = left.__cause__ or left.__context__
    return found
