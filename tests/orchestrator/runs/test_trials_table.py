"""`trials.csv`: every column has a name of its own, and what a program of tables would run is text."""

from __future__ import annotations

import csv
from pathlib import Path

from orchestrator.runs.folder import write_trials
from tests.support.recorded_runs import complete_trial, fail_trial, make_run


def test_the_seconds_of_a_trial_and_of_its_best_epoch_are_two_columns(tmp_path: Path) -> None:
    study = make_run(tmp_path / "run")
    complete_trial(study, 60.0, seconds=20.5)
    write_trials(tmp_path / "run", study.trials)
    head, row = csv.reader((tmp_path / "run" / "trials.csv").open(newline=""))
    assert len(set(head)) == len(head)
    assert dict(zip(head, row, strict=True))["seconds"] == "61.5"
    assert dict(zip(head, row, strict=True))["best_epoch/seconds"] == "20.5"


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    study = make_run(tmp_path / "run")
    fail_trial(study, '=HYPERLINK("http://example.org")\nsecond line')
    write_trials(tmp_path / "run", study.trials)
    (row,) = csv.DictReader((tmp_path / "run" / "trials.csv").open(newline=""))
    assert row["failure"] == '\'=HYPERLINK("http://example.org")\nsecond line'
