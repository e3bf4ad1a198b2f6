"""`launch.py` in a process of its own, and what it leaves behind."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.paths import ROOT

LONG = 900.0
"""Seconds after which what would wait for ever is ended. No test is about it, so a slow machine must not reach it."""


def command(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "launch.py"), *words]


def torchrun(*words: str) -> list[str]:
    """The same with two processes that train together."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [*start, *command(*words)[1:]]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


def launch(*words: str) -> tuple[int, str]:
    """Run `launch.py` to its end: exit code and everything it printed."""
    done = subprocess.run(command(*words), capture_output=True, text=True, env=environment(), timeout=LONG, check=False)
    return done.returncode, done.stdout + done.stderr


def rows(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader((Path(folder) / "trials.csv").open()))


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end and process.poll() is None:
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.1)
    raise AssertionError(f"did not happen in {LONG:.0f} s; exit code {process.poll()}")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that no one process does."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, f"did not happen in {LONG:.0f} s"
        time.sleep(0.3)
