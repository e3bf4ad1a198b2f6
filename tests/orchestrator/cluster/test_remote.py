"""Functions that work on another node as if they were here, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cluster.remote import call_in_directory, working_directory
from wsol.errors import InputError


def where(below: str) -> Path:
    return Path(below).absolute()


def test_a_function_works_where_the_search_was_started_and_the_process_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    assert call_in_directory(there, True, where, below="runs") == there / "runs"
    assert Path.cwd() == here
    with pytest.raises(ZeroDivisionError), working_directory(there, required=True):
        raise ZeroDivisionError
    assert Path.cwd() == here


def test_a_directory_that_the_node_does_not_see_is_refused_only_where_it_matters(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(InputError, match=f"{absent}: this node does not see this folder"):
        call_in_directory(absent, True, where, "runs")
    assert call_in_directory(absent, False, where, "runs") == Path("runs").absolute()
