"""A mistake is tried: made in a copy of the code, the tests run, and taken back.

Every try is a fork of a process that has imported what the code and its tests import from elsewhere: a start of Python
with torch and Ray takes longer than most of the tests.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.table import Mutant
from tests.support.paths import ROOT

COPIED = ("wsol", "orchestrator", "tests", "search_spaces", "clusters", "docs", "benchmarks")
NEEDED = (
    "torch._dynamo",
    "torchvision",
    "ray.train.torch",
    "ray.tune",
    "optuna",
    "numba",
    "cv2",
    "typer",
    "hypothesis",
)
SECONDS = 600
"""A mistake that makes the tests run for so long is noticed."""
FAILED = "failed.txt"
"""In a copy: the tests that failed, a line each."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a mistake.

    Attributes:
        word: `noticed`, `missed`, or `stale` where the code or its tests have changed since the row was written.
        test: that failed first; what happened instead where none did.
    """

    word: str
    test: str = ""


def import_what_tests_need() -> None:
    """Once, before anything is tried. None of the code itself: each copy has its own."""
    os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads cannot be forked
    for name in NEEDED:
        importlib.import_module(name)


def copied(folder: Path) -> Path:
    """A copy of the code and its tests; the recorded vectors are only linked."""
    folder.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("vectors"))
    for path in [*ROOT.glob("*.*"), ROOT / "Makefile"]:
        if path.is_file():  # the environment is a folder with a dot, of gigabytes
            shutil.copy(path, folder)
    (folder / "tests" / "vectors").symlink_to(ROOT / "tests" / "vectors")
    return folder


def tried(rows: Sequence[Mutant], folders: Sequence[Path]) -> Iterator[tuple[Mutant, Outcome]]:
    """Every row and what came of it, in the order in which they end; as many at a time as there are copies."""
    free, running = list(folders), dict[int, tuple[Mutant, Path, ExitStack]]()
    for row in rows:
        if row.problem():
            yield row, Outcome("stale", "the code has changed")
            continue
        if not free:
            yield ended(running, free)
        folder, mistake = free.pop(), ExitStack()
        mistake.enter_context(made(row, folder))
        running[forked(folder, ["-x", *row.tests])] = row, folder, mistake
    while running:
        yield ended(running, free)


def ended(running: dict[int, tuple[Mutant, Path, ExitStack]], free: list[Path]) -> tuple[Mutant, Outcome]:
    """Wait until one ends; its copy is free again."""
    process, status = os.wait()
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # what its tests left behind
    row, folder, mistake = running.pop(process)
    mistake.close()
    free.append(folder)
    return row, outcome(os.waitstatus_to_exitcode(status), failed_tests(folder))


def outcome(code: int, failed: Sequence[str]) -> Outcome:
    """What the end of the tests says, by pytest's exit code."""
    if code == pytest.ExitCode.OK:
        return Outcome("missed")
    if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        return Outcome("stale", "a test that is named is not there")
    return Outcome(
        "noticed", failed[0] if failed else "did not end" if code == -signal.SIGALRM else f"ended with {code}"
    )


def failing_without_mistake(tests: Sequence[str], folder: Path) -> set[str]:
    """Those of the tests that fail in the copy as it is: they notice nothing."""
    _, status = os.waitpid(forked(folder, tests, seconds=10 * SECONDS), 0)
    return set(failed_tests(folder)) if os.waitstatus_to_exitcode(status) in (0, 1) else set(tests)


def forked(folder: Path, words: Sequence[str], seconds: int = SECONDS) -> int:
    """Start pytest with these words in the copy: its process."""
    sys.stdout.flush()
    if process := os.fork():
        return process
    code = 1
    try:
        signal.alarm(seconds)
        code = in_copy(folder, words)
    finally:
        os._exit(code)  # nothing of the process that was forked is ended here


def in_copy(folder: Path, words: Sequence[str]) -> int:
    """Run pytest in the copy as a process of its own would; returns its exit code."""
    os.setsid()
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silence, stream)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = sys.path[0] = str(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
        del sys.modules[name]
    (folder / FAILED).write_text("")
    options = ["-q", "-m", "", "-p", "no:cacheprovider", f"--basetemp={folder / 'temporary'}"]
    return pytest.main([*options, *words], plugins=[Failed(folder / FAILED)])


class Failed:
    """Writes down which tests fail."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """A line for each failure."""
        if report.failed:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")


def failed_tests(folder: Path) -> list[str]:
    """What the last tests that ran in the copy have written down."""
    return (folder / FAILED).read_text(encoding="utf-8").splitlines()


@contextmanager
def made(row: Mutant, folder: Path) -> Iterator[None]:
    """Inside, the copy has the mistake."""
    path = folder / row.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(row.text, row.replacement), encoding="utf-8")
    changed = path.stat().st_mtime_ns + int(1e9)
    os.utime(path, ns=(changed, changed))  # bytecode of the same second and size would be taken for this file's
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(changed + int(1e9), changed + int(1e9)))
