"""Recorded cases of another folder are run as ours are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support import unread, vectors
from tests.support.paths import ROOT


def test_cases_of_another_folder_with_our_helper_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backbones").mkdir()
    shutil.copy(next((vectors.OWN / "adl").glob("*.npz")), tmp_path / "backbones" / "any.npz")
    monkeypatch.setattr(vectors, "FOLDER", tmp_path)
    assert [case.id for case in vectors.files("backbones")] == ["any"]  # type: ignore[attr-defined]
    name = "state_dict_keys_base.json"
    assert vectors.helper("backbones", name) == vectors.OWN / "backbones" / name
    (tmp_path / "backbones" / name).write_text("{}")
    assert vectors.helper("backbones", name) == tmp_path / "backbones" / name


def test_every_group_of_ours_is_asked_for_by_a_test() -> None:
    """A folder of recorded cases that nobody reads proves nothing."""
    tests = vectors.OWN.parent
    text = "".join(path.read_text() for path in tests.rglob("*.py") if path.name != Path(__file__).name)
    assert not [folder.name for folder in vectors.OWN.iterdir() if folder.is_dir() and f'"{folder.name}"' not in text]
    asked = set(re.findall(r'\bfiles\("(\w+)"', text))  # one without files is skipped, so a slip would be, too
    assert asked and not [group for group in asked if not list((vectors.OWN / group).glob("*.npz"))]


def arrays_of(name: str) -> set[str]:
    with np.load(vectors.OWN / name) as arrays:
        return set(arrays.files)


def test_arrays_that_nobody_reads_are_told_and_exceptions_that_are_none() -> None:
    name, everything = "adl/feature_14.npz", arrays_of("adl/feature_14.npz")
    assert list(unread.unread(["adl"], {})) == [f"{name}: {', '.join(vectors.load(vectors.OWN / name))}"]
    assert list(unread.unread(["adl"], {name: everything - {"importance_map"}})) == [f"{name}: importance_map"]
    assert not list(unread.unread(["adl"], {name: everything}))
    maps = [path.relative_to(vectors.OWN).as_posix() for path in (vectors.OWN / "xgrad_cam").glob("*.npz")]
    told = list(unread.unread(["xgrad_cam"], {name: arrays_of(name) for name in maps}))
    assert len(told) == 2 and all(line.endswith("are read; take the exception out") for line in told)


def test_what_is_read_is_noted_and_what_is_copied_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "READ", {})
    name = "adl/feature_14.npz"
    arrays = vectors.load(vectors.OWN / name)
    assert "feature" in dict(arrays) and "feature" in {**arrays} and list(arrays) and not vectors.READ[name]
    assert arrays["feature"] is arrays.get("feature") and vectors.READ[name] == {"feature"}
    arrays.pop("importance_map")
    assert vectors.READ[name] == {"feature", "importance_map"}
    assert len(vectors.load(vectors.OWN / name).items()) == len(vectors.READ[name]) == len(arrays_of(name))


class Run:
    """A configuration of pytest and a session of it, or a process of several."""

    def __init__(self, *arguments: str, process: bool = False) -> None:
        self.args, self.invocation_params, self.exitstatus = list(arguments), self, 0
        self.dir, self.option, self.collectonly = ROOT, self, False
        self.items = [self]
        self.path = ROOT / "tests" / "wsol" / "methods" / "test_adl.py"
        if process:
            self.workeroutput: dict[str, object] = {}


def finished(plugin: unread.Unread, run: Run) -> list[str]:
    plugin.pytest_sessionfinish(run, 0)  # type: ignore[arg-type]
    return plugin.found


def test_several_processes_have_read_what_each_of_them_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "FOLDER", vectors.OWN)
    monkeypatch.setattr(unread, "askers", lambda: {"adl": {"tests/wsol/methods/test_adl.py"}})
    name, controller = "adl/feature_14.npz", Run()
    plugin, everything = unread.Unread(controller), arrays_of("adl/feature_14.npz")  # type: ignore[arg-type]
    for part in ({"feature"}, everything - {"feature", "importance_map"}, {"importance_map"}):
        monkeypatch.setattr(vectors, "READ", {name: part})
        process = Run(process=True)
        of_process = unread.Unread(process)  # type: ignore[arg-type]
        of_process.pytest_collection_finish(process)  # type: ignore[arg-type]
        assert not finished(of_process, process) and process.exitstatus == 0
        monkeypatch.setattr(vectors, "READ", {})
        plugin.pytest_testnodedown(process)
        assert bool(finished(plugin, controller)) == (part != {"importance_map"})
    assert controller.exitstatus == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("parted", ["by its name", "by a selection", "elsewhere"])
def test_nothing_is_said_about_a_part_of_the_tests(parted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "FOLDER", vectors.OWN)
    monkeypatch.setattr(vectors, "READ", {})
    elsewhere = {"tests/wsol/test_another.py"} if parted == "elsewhere" else set()
    monkeypatch.setattr(unread, "askers", lambda: {"adl": {"tests/wsol/methods/test_adl.py", *elsewhere}})
    run = Run(*["tests/wsol/methods/test_adl.py::test_one"] * (parted == "by its name"))
    plugin = unread.Unread(run)  # type: ignore[arg-type]
    plugin.pytest_collection_finish(run)  # type: ignore[arg-type]
    if parted == "by a selection":
        plugin.pytest_deselected([run])  # type: ignore[list-item]
    assert not finished(plugin, run) and run.exitstatus == 0
