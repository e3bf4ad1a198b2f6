"""Shared fixtures: a search-space file of seconds, on rendered images, and the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest
import typer
import yaml
from xdist.remote import Producer

from orchestrator import cli
from tests.support.scheduling import TwoRays
from tests.support.tiny import TINY, Launch
from tests.support.unread import Unread
from wsol.contract.seeds import begin_draws_anew

os.environ.setdefault("OMP_NUM_THREADS", "1")
hypothesis.settings.register_profile("the same every time", derandomize=True, deadline=None)
hypothesis.settings.load_profile("the same every time")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TwoRays:
    """How several processes share the tests."""
    return TwoRays(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Recorded numbers have to be read."""
    config.pluginmanager.register(Unread(config))


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Much of the time would be spent on power cuts that no test makes. What is asked of the disk can still be watched:
    by replacing `os.fsync` once more.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_command_line() -> Iterator[None]:
    """`launch.py` makes the commands of its command line once; hundreds of tests need not make them each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(autouse=True)
def _the_same_draws_in_every_run() -> None:
    """What a test draws without a seed of its own is the same whenever and after whatever it runs."""
    begin_draws_anew()


@pytest.fixture
def space_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny search-space file in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY, sort_keys=False))
    return path


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """Run `launch.py` with words: exit code, output, errors."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["launch.py", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of an object store on this machine."""
    from tests.support.object_store import object_store

    with object_store() as address:
        yield address
