"""Recorded inputs and outputs of the published reference implementations: every file of a group is a test case."""

from __future__ import annotations

import os
from collections.abc import ItemsView, Mapping, ValuesView
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT

OWN = ROOT / "tests" / "vectors"
FOLDER = Path(os.environ.get("WSOL_VECTORS", OWN))
"""The recorded cases: ours, or those of any folder with the same groups."""


def files(group: str, pattern: str = "*.npz") -> list[object]:
    """The files of a group as pytest parameters; a skipped one that says so where the folder has none."""
    found = sorted((FOLDER / group).glob(pattern))
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no {pattern} in {FOLDER / group}"), id="none")]
    return [pytest.param(path, id=path.stem) for path in found]


def helper(group: str, name: str) -> Path:
    """A file that the cases of a group share, such as a list of keys: of the folder, or ours where it has none."""
    found = FOLDER / group / name
    return found if found.exists() else OWN / group / name


READ: dict[str, set[str]] = {}
"""Group and name of a file of ours -> the arrays that this process has read of it."""


class Recorded(dict[str, np.ndarray]):
    """The arrays of a file, which notes those that are read. A copy made with `dict` or `**` has read nothing.

    Args:
        arrays: name -> array.
        read: to which the names are added.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], read: set[str]) -> None:
        super().__init__(arrays)
        self.read = read

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        self.read.add(name)
        return super().pop(name, *default)

    def items(self) -> ItemsView[str, np.ndarray]:
        self.read.update(self)
        return super().items()

    def values(self) -> ValuesView[np.ndarray]:
        self.read.update(self)
        return super().values()


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    read = READ.setdefault(path.relative_to(OWN).as_posix(), set()) if path.is_relative_to(OWN) else set()
    with np.load(path) as arrays:
        return Recorded(arrays, read)
