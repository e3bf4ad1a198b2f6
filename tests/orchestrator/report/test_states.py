"""Every state a search can be in gives a page."""

from __future__ import annotations

import os
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from orchestrator.report.page import write_report
from orchestrator.runs.summary import read_summary
from tests.support.finished_search import add_winner
from tests.support.recorded_runs import complete_trial, fail_trial, make_run, start_trial
from tests.support.report_pages import page_of
from wsol.errors import InputError


def age(folder: Path, seconds: float) -> None:
    """Let the last sign of life be long ago."""
    moment = datetime.now(UTC).timestamp() - seconds
    for file in ("study.journal", "study.json"):
        os.utime(folder / file, (moment, moment))


def test_a_running_search(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    complete_trial(study, 58.625)
    start_trial(study, (40.0, 47.0))
    page = page_of(folder)
    assert ">running</span>" in page
    assert "Best so far: trial 0" in page
    assert "58.62" in page
    assert "launch.py resume" not in page
    assert [trial.value for trial in read_summary(folder).trials] == [58.625, 47.0]


def test_an_interrupted_search_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    complete_trial(study, 58.625)
    start_trial(study, (40.0,))
    age(folder, 7200)
    page = page_of(folder)
    assert ">interrupted</span>" in page
    assert "python launch.py resume runs/crop" in page
    assert read_summary(folder).trials[1].state == "interrupted"


def test_long_epochs_are_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    trial = start_trial(study, (50.0,))
    trial.set_user_attr("seconds", 7200.0)
    trial.set_user_attr("epochs", 1)
    study.tell(trial, 50.0)
    age(folder, 7200)
    assert read_summary(folder).state == "running"


def test_the_lock_of_the_study_says_whether_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    make_run(folder)
    (folder / "study.owner").write_text(f"{socket.gethostname()}, process 1, since now")
    with FileLock(folder / "study.lock"):
        age(folder, 7200)
        assert read_summary(folder).state == "running"
    (folder / "study.json").touch()
    assert read_summary(folder).state == "interrupted"


def test_only_failed_trials(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder, ended="2026-01-05T11:30:00+00:00")
    for _ in range(3):
        fail_trial(study)
    page = page_of(folder)
    assert "No trial completed" in page
    assert "All failed for the same reason" in page
    assert "× 3" in page


def test_zero_trials(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    make_run(folder)
    assert "none started" in page_of(folder)
    assert read_summary(folder).best is None


def test_a_folder_with_nothing_but_the_header_or_the_journal(tmp_path: Path) -> None:
    complete_trial(make_run(tmp_path / "a"), 50.0)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "study.journal").unlink()
    (tmp_path / "b" / "study.json").unlink()
    assert "none started" in page_of(tmp_path / "a")
    assert "50.00" in page_of(tmp_path / "b")


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no search here"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_never_reaches_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    study.tell(start_trial(study, (float("nan"), 44.0, float("inf"))), 44.0)
    assert "44.00" in page_of(folder)


def test_a_single_training_is_not_called_a_search(tmp_path: Path) -> None:
    study = make_run(tmp_path / "alone", kind="train", ended="2026-01-05T11:30:00+00:00", trials=1)
    complete_trial(study, 64.25)
    add_winner(tmp_path / "alone", 0)
    page = page_of(tmp_path / "alone")
    assert "Training report" in page and "the whole search" not in page and "<dt>sampler</dt>" not in page
    assert 'id="plot-curves"' in page and 'id="plot-history"' not in page and 'id="plot-timeline"' not in page
