"""Reads comma separated text files: rows with their line numbers, and paths that stay inside of a folder."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from wsol.errors import InputError, counted

T = TypeVar("T")
Rows = list[tuple[int, list[str]]]
"""Line number, from 1, and fields."""

LARGEST = 10**9
COPY_AGAIN = "the file may be cut short: copy it again from its source"
OUTSIDE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\\\x00-\x1f\x7f]")
"""Pattern of paths that are refused: absolute ones, empty parts, `.` or `..` as a part, backslashes, control
characters."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without blank ones at its end: UTF-8, or UTF-16 if the file begins with its mark, as
    some editors save it.

    Raises:
        InputError: the file cannot be read, or is not text. FileNotFoundError: there is no such file.
    """
    try:
        content = path.read_bytes()
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_rows(path: Path, formats: dict[str, str], fields: int | None = None) -> Rows:
    """All rows of one of several files.

    Args:
        path: one of the files.
        formats: file name -> the format of its rows, for messages; the first field is the image id.
        fields: how many fields every row has; None: any number.

    Raises:
        InputError: the file is missing or not text, or a row has no image id or another number of fields.
    """
    try:
        lines = read_lines(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a split needs {', '.join(formats)}, see `data prepare`") from None
    rows = [(number, line.split(",")) for number, line in enumerate(lines, start=1)]
    for number, row in rows:
        if not row[0].strip() or (fields is not None and len(row) != fields):
            require_fields(path, number, row, formats, fields)
    return rows


def require_fields(path: Path, line: int, row: list[str], formats: dict[str, str], fields: int | None) -> None:
    """Raise InputError if a row is empty, has no image id, or has another number of fields."""
    if row == [""]:
        raise InputError(f"{path}:{line}: empty line between rows; remove it")
    if not row[0].strip():
        raise InputError(f"{path}:{line}: the image id is empty; rows are {formats[path.name]}")
    if len(row) != fields:
        count = f"{counted(len(row), 'field')} instead of {fields}"
        raise InputError(f"{path}:{line}: {count}; rows are {formats[path.name]}; {COPY_AGAIN}")


def unique(path: Path, rows: Rows, parse: Callable[[list[str]], T]) -> dict[str, T]:
    """Image id -> the result of `parse` for its row. Raises InputError if an id has two rows or `parse` raises
    ValueError."""
    values: dict[str, T] = {}
    for line, fields in rows:
        if fields[0] in values:
            raise InputError(f"{path}:{line}: {fields[0]} is listed twice; remove one of the rows")
        with located(path, line):
            values[fields[0]] = parse(fields)
    return values


@contextmanager
def located(path: Path, line: int) -> Iterator[None]:
    """Turn a ValueError inside of the block into an InputError with file and line."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{path}:{line}: {error}") from None


def require_inside(name: str) -> None:
    """Raise ValueError if a path would leave the folder that it is relative to, or is not written like a path."""
    if OUTSIDE.search(name):
        raise ValueError(
            f"{name!r} is no path inside of the image folder; write folder/file, without .., from no root, with /"
        )


def integer(text: str, what: str) -> int:
    """A whole number up to `LARGEST`; `int` would also accept blanks, underscores and foreign digits. Raises
    ValueError."""
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ValueError(f"the {what} {text!r} is no integer")
    if len(text) > len(str(-LARGEST)) or abs(int(text)) > LARGEST:
        raise ValueError(f"the {what} {text[:40]!r} is too large")
    return int(text)
