"""Recorded inputs and outputs of the published reference implementations: every file of a group is a test case."""

from __future__ import annotations

import os
from pathlib import Path

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


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    with np.load(path) as arrays:
        return dict(arrays)
