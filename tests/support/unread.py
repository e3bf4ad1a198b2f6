"""Recorded numbers that no test reads prove nothing: after the tests, those that were not read fail the run.

A group is checked in each run that has, without failures, all tests of all files that ask for it, in any number of
processes and any order; otherwise nothing is said about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support import vectors
from tests.support.paths import ROOT

ASKED = re.compile(r'(?:\bfiles\(|\bOWN / )"(\w+)"')
WEIGHTS = "weights are inside of the extractor; the maps that they make are compared"
FINAL = "how the library enlarges and rescales its map, which is not ours"
NOT_READ = {
    ("ablation_cam", r".*/final_.*"): FINAL,
    ("deit_forward", r"grad_cam_tokens/.*_final"): FINAL,
    ("eigen_cam", r".*/final_.*"): FINAL,
    ("full_grad", r".*/pgc_final"): FINAL,
    ("score_cam", r".*/(authors|pgc)_final_.*"): FINAL,
    ("xgrad_cam", r".*/pgc_final_.*"): FINAL,
    ("smooth_grad_cam_pp", r".*/weights_.*"): WEIGHTS,
    ("xgrad_cam", r".*/pgc_weights_.*"): WEIGHTS,
    ("ts_cam", r"grid.*/class_token"): "the method does not use it",
}
"""Group and a regular expression of file and array -> why no test reads the array."""


class Unread:
    """The plugin of pytest: what this process read, or, where there are several, what all of them read."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.read: dict[str, set[str]] = {}
        self.collected: set[str] = set()
        arguments = [argument.partition("::")[0] for argument in config.args if "::" in argument]
        self.parted = _relative(config.invocation_params.dir / argument for argument in arguments)
        self.found: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected.update(_relative(item.path for item in session.items))

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.parted.update(_relative(item.path for item in items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """A process of several has ended; one that crashed has said nothing, and has failed the run."""
        output = getattr(node, "workeroutput", {}).get("unread", {})
        self.collected.update(output.get("collected", ()))
        self.parted.update(output.get("parted", ()))
        self._add(output.get("read", {}))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._add(vectors.READ)
        if hasattr(self.config, "workeroutput"):
            read = {name: sorted(arrays) for name, arrays in self.read.items()}
            lists = {"read": read, "collected": sorted(self.collected), "parted": sorted(self.parted)}
            self.config.workeroutput["unread"] = lists
        elif exitstatus == 0 and not self.config.option.collectonly and vectors.FOLDER == vectors.OWN:
            whole = self.collected - self.parted
            groups = [group for group, files in askers().items() if files and files <= whole]
            self.found = list(unread(groups, self.read))
            if self.found:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.found:
            terminalreporter.section("recorded numbers that no test reads; see tests/support/unread.py", red=True)
            for line in self.found:
                terminalreporter.line(line)

    def _add(self, read: Mapping[str, Iterable[str]]) -> None:
        for name, arrays in read.items():
            self.read.setdefault(name, set()).update(arrays)


def _relative(paths: Iterable[Path]) -> set[str]:
    """To the root of the repository, those that are below it."""
    return {path.relative_to(ROOT).as_posix() for path in paths if path.is_relative_to(ROOT)}


def askers() -> dict[str, set[str]]:
    """Group of ours -> the files of tests that ask for it."""
    found: dict[str, set[str]] = {folder.name: set() for folder in vectors.OWN.iterdir() if folder.is_dir()}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for group in ASKED.findall(path.read_text()):
            found.setdefault(group, set()).add(path.relative_to(ROOT).as_posix())
    return found


def unread(groups: Iterable[str], read: Mapping[str, set[str]]) -> Iterator[str]:
    """A line for each file with unread arrays, and for each exception that is none."""
    for group in sorted(groups):
        excepted = {pattern: 0 for of, pattern in NOT_READ if of == group}
        for path in sorted((vectors.OWN / group).glob("*.npz")):
            with np.load(path) as arrays:
                missed = [name for name in arrays.files if name not in read.get(f"{group}/{path.name}", ())]
            for pattern in excepted:
                known = [name for name in missed if re.fullmatch(pattern, f"{path.stem}/{name}")]
                excepted[pattern] += len(known)
                missed = [name for name in missed if name not in known]
            if missed:
                yield f"{group}/{path.name}: {', '.join(missed)}"
        for pattern, count in excepted.items():
            if not count:
                yield f"{group}: all {pattern} are read; take the exception out"
