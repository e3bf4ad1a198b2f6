"""Recognises full disks by an error, and says which disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

SCARCE_BYTES = 2**20
"""With fewer free bytes than this, a disk counts as full: neither a checkpoint nor a journal can be written."""


def full_disk(*folders: Path) -> str | None:
    """The first of some folders whose disk is full, in words; None if all have room."""
    for folder in folders:
        found = existing(folder)
        free = os.statvfs(found)
        if free.f_bavail * free.f_frsize < SCARCE_BYTES or (free.f_files and not free.f_favail):
            return in_words(found)
    return None


def full_disk_of(error: BaseException, *folders: Path) -> str | None:
    """The full disk that an error is due to, in words; None if the error has another reason.

    Args:
        error: the error, with those that it was raised from or during.
        folders: the folders that the program writes to. Errors of libraries that give no reason count if one of these
            disks is full.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            named = Path(os.fsdecode(cause.filename)) if isinstance(cause.filename, str | bytes) else None
            return full_disk(*folders) or in_words(existing(named or next(iter(folders), Path.cwd())))
    return full_disk(*folders)


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """For a block in which a library, such as torch, writes into a folder and does not say why it cannot. While its
    partial files exist, the disk itself shows that it is full.

    Raises:
        OSError: the disk is full; its errno is ENOSPC.
    """
    try:
        yield
    except RuntimeError as error:
        if full_disk(folder) is None:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def in_words(folder: Path) -> str:
    """One line that says which disk is full, and on which machine."""
    return f"{socket.gethostname()}: the disk of {folder} is full; free some space"


def existing(path: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())


def _causes(error: BaseException) -> list[BaseException]:
    """An error, and those that it was raised from or during."""
    found: list[BaseException] = []
    left: BaseException | None = error
    while left is not None and left not in found:
        found.append(left)
        left = left.__cause__ or left.__context__
    return found
