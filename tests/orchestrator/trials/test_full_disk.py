"""A disk that fills up ends a search with one line, and leaves what was running to be resumed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
import torch
from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.model import Experiment
from orchestrator.runs.journal import open_study
from orchestrator.study.study import Study
from orchestrator.trials import searcher as searchers
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher
from orchestrator.trials.wire import Assignment, EpochReport, Report, TrialHalted, encode
from orchestrator.trials.worker import run_trial
from tests.support.studies import create
from tests.support.tiny import TINY
from wsol import checkpoint, disk
from wsol.disk import full_disk, full_disk_of
from wsol.errors import RunFailed

FULL = OSError(errno.ENOSPC, "No space left on device")


def begun(folder: Path) -> tuple[Study, StudySearcher, list[str]]:
    """A study whose notes are kept, two of whose trials run as `a` and `b`."""
    study = create(folder, Experiment.model_validate({**TINY, "study": {"trials": 3}}))
    progress, said = SearchProgress(3, 2, console=Console(quiet=True)), list[str]()
    progress.note = said.append  # type: ignore[method-assign]
    searcher = StudySearcher(study, Plan(1, 1, 0.0, 2, {}), progress, lambda: False)
    assert searcher.suggest("a") and searcher.suggest("b")
    return study, searcher, said


def epoch(number: int) -> dict[str, Any]:
    record = dict.fromkeys(("objective", "objective_now", "train_fullsup/max_box_acc_v2", "train/loss"), 1.0)
    return encode(EpochReport({"epoch": number, "seconds": 1.0, **record}, "here:1"))


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder).trials]


def test_a_trial_on_a_full_disk_ends_the_search_and_stays_resumable(tmp_path: Path) -> None:
    study, searcher, said = begun(tmp_path / "run")
    searcher.on_trial_complete("a", encode(TrialHalted("node-7: the disk of /scratch is full", "node-7:1")))
    assert searcher.suggest("c") == searchers.Searcher.FINISHED
    searcher.between_steps(["b"])  # ends its epoch first
    assert searcher.after_epoch("b", epoch(1)) == "NOOP"
    with pytest.raises(RunFailed, match=r"^node-7: the disk of /scratch is full$"):
        searcher.between_steps(["b"])
    assert said == ["node-7: the disk of /scratch is full"]
    study.close()
    assert states(tmp_path / "run") == ["RUNNING", "RUNNING"]


@pytest.mark.parametrize("when", ["report", "complete", "fail", "ask"])
def test_a_journal_that_cannot_be_written_ends_the_search_not_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    study, searcher, said = begun(tmp_path / "run")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "run" / "study.journal"))

    monkeypatch.setattr(study, when, full)
    steps: dict[str, Callable[[], object]] = {
        "report": lambda: searcher.after_epoch("a", epoch(1)),
        "complete": lambda: searcher.on_trial_complete("a", {"history": "[]", "seconds": 1.0, "worker": "here:1"}),
        "fail": lambda: searcher.on_trial_complete("a", {"failure": "no", "seconds": 1.0, "worker": "here:1"}),
        "ask": lambda: searcher.suggest("c"),
    }
    steps[when]()
    assert [line.partition(": ")[2] for line in said] == [f"the disk of {tmp_path / 'run'} is full; free some space"]
    monkeypatch.undo()
    searcher.after_epoch("a", epoch(1)) if when in ("report", "ask") else None
    searcher.after_epoch("b", epoch(1))
    with pytest.raises(RunFailed, match="is full"):
        searcher.between_steps([name for name in "ab" if name in searcher._running])
    study.close()
    assert states(tmp_path / "run") == ["RUNNING", "RUNNING"]


def test_a_process_that_died_where_the_disk_is_full_did_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, searcher, said = begun(tmp_path / "run")
    monkeypatch.setattr(searchers, "full_disk", lambda *folders: f"here: the disk of {folders[0]} is full")
    searcher.on_trial_complete("a", error=True)
    assert said == [f"here: the disk of {tmp_path / 'run'} is full"]
    study.close()
    assert states(tmp_path / "run") == ["RUNNING", "RUNNING"]


@pytest.mark.parametrize("what", ["checkpoint", "a library that says no reason"])
def test_a_worker_on_a_full_disk_says_so_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """`torch.save` says `file write failed` for whatever reason."""
    monkeypatch.chdir(tmp_path)
    study = create(tmp_path / "run", Experiment.model_validate(TINY))
    task = study.ask()
    assert task is not None
    error = FULL if what == "checkpoint" else RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    def fail(*arguments: object) -> str:
        if what != "checkpoint":
            monkeypatch.setattr(disk, "SCARCE_BYTES", 2**60)
        raise error

    monkeypatch.setattr(checkpoint, "write_state", fail)
    reports: list[Report] = []
    run_trial(Assignment.of_task(task, Plan(1, 1, 0.0, 1, {})), reports.append)
    (report,) = reports
    assert isinstance(report, TrialHalted) and "is full; free some space" in report.reason


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_disk(tmp_path, tmp_path / "not" / "yet") is None
    assert full_disk_of(OSError(errno.EIO, "Input/output error"), tmp_path) is None
    try:
        try:
            raise FULL
        except OSError as error:
            raise ValueError("while it was written") from error
    except ValueError as error:
        assert str(full_disk_of(error, tmp_path)).partition(": ")[2].startswith(f"the disk of {tmp_path} is full")
    room = SimpleNamespace(f_bavail=0, f_frsize=4096, f_files=10, f_favail=5)
    monkeypatch.setattr(os, "statvfs", lambda path: room)
    assert f"the disk of {tmp_path} is full" in str(full_disk(tmp_path / "not" / "yet"))


def test_a_checkpoint_for_which_there_is_no_room_says_so_although_torch_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of it is gone when the error arrives, and the disk has room again."""

    def save(state: object, file: BinaryIO) -> None:
        assert Path(file.name).parent == tmp_path
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match="file write failed"):
        checkpoint.write_state(tmp_path / "epoch-0001.pt", {})
    monkeypatch.setattr(disk, "SCARCE_BYTES", 2**60)
    with pytest.raises(OSError, match="No space left on device") as caught:
        checkpoint.write_state(tmp_path / "epoch-0001.pt", {})
    monkeypatch.undo()
    assert f"the disk of {tmp_path} is full" in str(full_disk_of(caught.value)) and not list(tmp_path.iterdir())
