"""Writes files that are either complete or absent, and computes fingerprints of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

TEMPORARY = ".part"
"""Ending of the names of files that are not complete yet."""


def write_text(path: Path, text: str) -> None:
    """Replace a UTF-8 text file in one step: a reader sees the old or the new text, never a part."""
    with temporary_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        sync_and_rename(temporary, path)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A new empty file in the folder of `path`, for this block only: no other process writes to it, and it is not a
    link. It is removed at the end of the block, unless it was renamed."""
    temporary = path.with_name(f"{path.name[:100]}.{token_hex(4)}{TEMPORARY}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sync_and_rename(temporary: Path, path: Path) -> None:
    """Give a finished file its name, after its bytes are on the disk; then the name is, too."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def exists(path: Path) -> bool:
    """Whether there is something at a path; False for text that cannot be a path, such as a word longer than a file
    name."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether a file is at a path; see `exists`."""
    return exists(path) and path.is_file()


def is_dir(path: Path) -> bool:
    """Whether a folder is at a path; see `exists`."""
    return exists(path) and path.is_dir()


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    """MD5 of a file, hexadecimal. Publishers of archives give it; it only detects damage."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
