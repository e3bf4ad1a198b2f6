"""Checks the folders that a user names, before anything is written there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryFile

from orchestrator.runs import names
from wsol.errors import InputError, listed
from wsol.files import TEMPORARY

LONGEST = 255
"""Longest name of a file, in bytes, that every common file system allows."""

OF_A_RUN = frozenset(
    {
        names.EXPERIMENT,
        names.HEADER,
        names.JOURNAL,
        names.LOCK,
        names.OWNER,
        names.PACKAGES,
        names.CHANGES,
        names.TRIALS,
        names.TRIALS_TABLE,
        names.TESTS,
        names.REPORT,
        names.WINNER,
        names.WINNER_EXPERIMENT,
        names.SEEDS,
    }
)
"""The files that a run which was cut off before its header may have left in its folder."""


def named_place(name: str | Path) -> Path:
    """Parse the path of a file or folder that a user named.

    Raises:
        InputError: no file can have that name: it is empty or too long.
    """
    if not str(name).strip():
        raise InputError("a folder without a name was given; name one, such as runs/mine")
    for part in Path(name).parts:
        if (length := len(os.fsencode(part))) > LONGEST:
            raise InputError(
                f"{part[:24]}...: a name of {length} bytes, the longest is {LONGEST}; choose a shorter one"
            )
    return Path(name)


def default_folder(name: str) -> Path:
    """The default folder of a run of that name."""
    return Path("runs") / name


def require_writable(folder: Path) -> None:
    """Raise InputError if a folder cannot be made or written; nothing is left there."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InputError(f"{folder}: {there} is no folder; choose another place")
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"{folder}: nothing can be written there ({error.strerror}); choose another place") from None


def require_no_foreign_files(folder: Path, is_own: Callable[[str], bool]) -> None:
    """Raise InputError if an existing folder holds files that do not belong in it; hidden files are ignored.

    Args:
        folder: need not exist.
        is_own: tells whether a name in it is one that we write there.
    """
    foreign = sorted(name for name in _names_in(folder) if not name.startswith(".") and not is_own(name))
    if foreign:
        raise InputError(f"{folder}: holds other files ({listed(foreign)}); choose a new or an empty folder")


def require_new_run_folder(folder: Path) -> None:
    """Raise InputError if no run can begin in a folder: it cannot be written, or holds a run or other files."""
    from orchestrator.runs.folder import require_no_run  # the command line imports this file, and that one is heavy

    require_writable(folder)
    require_no_run(folder)
    require_no_foreign_files(folder, _is_of_a_run)


def require_maps_folder(folder: Path) -> None:
    """Raise InputError if no maps can be saved in a folder: it cannot be written, or holds files other than maps, such
    as images."""
    require_writable(folder)
    foreign = next(
        (
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".npy" and path.name != names.MAPS_ORIGIN
        ),
        None,
    )
    if foreign is not None:
        raise InputError(f"{folder}: holds other files than maps ({foreign}); choose a new or an empty folder")


def _is_of_a_run(name: str) -> bool:
    """Whether a run may have left a file: one of its own, a lock, or an unfinished one."""
    return name in OF_A_RUN or name.endswith((TEMPORARY, ".lock"))


def _names_in(folder: Path) -> Iterable[str]:
    return (path.name for path in folder.iterdir()) if folder.is_dir() else ()
