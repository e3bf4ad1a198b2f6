"""Reads flawless files of metadata fast: of a million rows no list is made but that of their ids, and no row is looked
at alone.

Rows are taken by thousands, split, compared and converted together. A file with anything unusual (a defect, UTF-16,
blank lines at the end, odd letters) is not judged here: the answer is None, and the strict readers of `metadata.py`
read it again, to take it or to name the line. What is accepted here, they would have read as the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

AT_ONCE = 2**19  # characters, some ten thousand rows
DIGITS = 9  # of the largest number that is read here; `rows.LARGEST` has one more


def image_ids(path: Path) -> list[str] | None:
    """The rows of a file of unique paths that stay inside of their folder; None: ask the strict reader."""
    try:
        ids = [name for text in _pieces(path) for name in _paths(text)]
        return ids if ids and _all_differ(_hashes(ids)) else None
    except (OSError, ValueError):
        return None


def numbers(path: Path, ids: list[str], columns: int, allowed: range) -> Int64 | None:
    """The numbers behind image ids.

    Args:
        path: a file of rows `<image id>,<number>,...`, in any order; rows of other images are checked as well.
        ids: N unique image ids.
        columns: how many numbers a row has.
        allowed: every number must be in it.

    Returns:
        (N, columns) int64 in the order of `ids`; None: ask the strict reader.
    """
    try:
        return _numbers(path, ids, columns, allowed)
    except (OSError, ValueError):
        return None


def _numbers(path: Path, ids: list[str], columns: int, allowed: range) -> Int64:
    found, hashes = np.full((len(ids), columns), -1, np.int64), list[Int64]()
    index, row, in_order = dict[str, int](), 0, True
    for text in _pieces(path):
        names, values = _split(text, columns)
        if int(values.min()) not in allowed or int(values.max()) not in allowed:  # a range searches for an int64
            raise ValueError("a number is out of its range")
        if in_order and names != ids[row : row + len(names)]:
            in_order, hashes = False, [_hashes(ids[:row])]
        if in_order:  # ids are unique, and so are these names
            found[row : row + len(names)] = values
        else:
            if not all(map(str.strip, names)):
                raise ValueError("an image id is blank")
            index = index or {name: place for place, name in enumerate(ids)}
            places = np.array([index.get(name, -1) for name in names], np.int64)
            found[places[places >= 0]] = values[places >= 0]
            hashes.append(_hashes(names))
        row += len(names)
    if (found < 0).any() or not (in_order or _all_differ(np.concatenate(hashes))):
        raise ValueError("an image has no row, or two")
    return found


def _pieces(path: Path) -> Iterator[str]:
    """The text of some rows at a time, each with its line end."""
    with path.open(encoding="utf-8-sig") as file:
        while text := file.read(AT_ONCE) + file.readline():
            yield text if text.endswith("\n") else f"{text}\n"


def _paths(text: str) -> list[str]:
    """The rows; raises ValueError unless all are plain paths, see `rows.OUTSIDE`."""
    parts = "/" + text.replace("\n", "/")
    if not parts.isprintable() or any(odd in parts for odd in ("//", "/./", "/../", "\\", ",", "/ ")):
        raise ValueError("a row is no plain path")
    return text.split("\n")[:-1]


def _split(text: str, columns: int) -> tuple[list[str], Int64]:
    """The ids of n rows, and their numbers (n, columns)."""
    rows, step = text.count("\n"), columns + 2
    fields = text.replace("\n", ",\n,").split(",")[:-1]  # a line end is a field of its own
    if len(fields) != rows * step or fields[step - 1 :: step] != ["\n"] * rows:
        raise ValueError("a row has another number of fields")
    values = [fields[1 + column :: step] for column in range(columns)]
    for texts in values:
        digits = "".join(texts)
        if not (digits.isascii() and digits.isdigit()) or max(map(len, texts)) > DIGITS:
            raise ValueError("a field is no number")
    return fields[::step], np.array([np.fromiter(map(int, texts), np.int64, rows) for texts in values]).T


def _hashes(names: list[str]) -> Int64:
    return np.fromiter(map(hash, names), np.int64, len(names))


def _all_differ(hashes: Int64) -> bool:
    """Whether all hashes differ, and with them the names; equal hashes prove nothing."""
    ordered = np.sort(hashes)
    return not (ordered[1:] == ordered[:-1]).any()
