"""Runs that are interrupted end with their exit code, whether or not anybody reads what they print."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.trials.interrupt import interruptible
from tests.support.launcher import command, environment
from wsol import disk
from wsol.errors import RunFailed

RUN = """
import os, signal, sys
from pathlib import Path
from orchestrator import cli
from orchestrator.console import console
from orchestrator.trials.interrupt import interruptible
def run():
    console.print("a trial")
    with interruptible(Path("run"), finish_epochs=sys.argv[1] == "finish"):
        for number in map(int, sys.argv[2:]):
            os.kill(os.getpid(), number)
            console.print("an epoch ends")
cli.app = run
cli.main()
"""
INT, TERM = int(signal.SIGINT), int(signal.SIGTERM)


def unread(words: list[str]) -> tuple[int, str]:
    """Run a command whose output nobody reads: exit code, errors."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("how", ["finish", "at once"])
@pytest.mark.parametrize("signals", [[INT], [TERM], [INT, INT]], ids=["int", "term", "twice"])
def test_a_run_whose_reader_has_ended_is_interrupted_as_any_other(how: str, signals: list[int]) -> None:
    """As with `| tee log`, which Ctrl-C ends, too."""
    assert unread([sys.executable, "-c", RUN, how, *map(str, signals)]) == (130, "")


def test_any_verb_ends_well_without_a_reader() -> None:
    assert unread(command("list", "methods")) == (0, "")


def test_what_is_read_is_not_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, "finish", str(INT)], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 130 and done.stderr == ""
    assert "a trial\n" in done.stdout and "press Ctrl-C again to stop at once\nan epoch ends\n" in done.stdout
    assert done.stdout.endswith("\ninterrupted; continue with: python launch.py resume run\n")


def test_a_full_disk_leaves_a_run_to_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"the disk of {tmp_path} is full; .* python launch.py resume {tmp_path}/run"
    with pytest.raises(RunFailed, match=said), interruptible(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "run" / "trials.csv"))
    monkeypatch.setattr(disk, "SCARCE_BYTES", 2**60)
    with pytest.raises(RunFailed, match=said), interruptible(tmp_path / "run"):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
    monkeypatch.undo()
    with pytest.raises(PermissionError), interruptible(tmp_path / "run"):
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("number", "shown"), [(errno.ENOSPC, 0), (errno.EIO, 1)], ids=["full", "other"])
def test_a_thread_that_finds_the_disk_full_leaves_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, shown: int
) -> None:
    def write() -> None:
        raise OSError(number, "cannot write")

    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with interruptible(tmp_path / "run"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(60)
    assert len(seen) == shown
