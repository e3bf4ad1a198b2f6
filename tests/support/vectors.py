"""Recorded inputs and outputs of the published reference implementations: every file of a group is a test case."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT

FOLDER = Path(os.environ.get("WSOL_VECTORS", ROOT / "tests" / "vectors"))


def files(group: str, pattern: str = "*.npz") -> list[object]:
    """The files of a group as pytest parameters; a skipped one that says so where the folder has none."""
    found = sorted((FOLDER / group).glob(pattern))
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no {pattern} in {FOLDER / group}"), id="none")]
    return [pytest.param(path, id=path.stem) for path in found]


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    with np.load(path) as arrays:
        return dict(arrays)
