"""A finished search, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.finished_search import make_finished


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """A copy of the finished search, to be changed."""
    return Path(shutil.copytree(finished_once, tmp_path / "runs" / "crop"))


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Complete, pruned and failed trials, a winner, its test, pictures."""
    return make_finished(tmp_path_factory.mktemp("runs") / "crop")
