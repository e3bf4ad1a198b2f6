"""Scratch folders on the disk of a node."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this process on this node's disk. Folders that killed processes left behind are removed."""
    for left in Path(gettempdir()).glob("wsol-scratch-*"):
        if not _alive(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(mkdtemp(prefix=f"wsol-scratch-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        try:
            os.kill(process, 0)
        except PermissionError:
            return True
        return True
    return False
