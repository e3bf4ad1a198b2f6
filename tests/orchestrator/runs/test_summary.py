"""What a run folder says about its search, where it could be taken for something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.runs.summary import Summary, read_summary
from tests.support.finished_search import SHA, add_winner
from tests.support.recorded_runs import complete_trial, make_run, start_trial

OTHER = "0ddba11c" * 8


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return make_run(tmp_path / "run")


def summary(tmp_path: Path) -> Summary:
    return read_summary(tmp_path / "run")


def test_the_winner_is_the_one_of_the_result_even_where_another_trial_is_higher(
    tmp_path: Path, study: optuna.Study
) -> None:
    for value in (50.0, 64.0, 58.0):
        complete_trial(study, value)
    best = summary(tmp_path).best
    assert best is not None and best.number == 1 and summary(tmp_path).value == 64.0  # none is chosen yet
    add_winner(tmp_path / "run", 2)
    chosen = summary(tmp_path).best
    assert chosen is not None and chosen.number == 2 and chosen.value == 58.0
    assert summary(tmp_path).value == 64.25  # as its result says


@pytest.mark.parametrize("state", [None, TrialState.PRUNED])
def test_a_trial_without_a_value_has_the_best_that_it_reported(
    state: TrialState | None, tmp_path: Path, study: optuna.Study
) -> None:
    trial = start_trial(study, (40.0, 47.5, float("nan"), 43.0))
    if state is not None:
        study.tell(trial, state=state)
    (row,) = summary(tmp_path).trials
    assert (row.value, row.curve) == (47.5, {1: 40.0, 2: 47.5, 4: 43.0}) and row.values == ()


def test_a_complete_trial_has_its_own_value_and_a_failed_one_none(tmp_path: Path, study: optuna.Study) -> None:
    study.tell(start_trial(study, (40.0, 47.5, 43.0)), 43.0)  # where the last epoch counts
    failed = start_trial(study, (60.0,))
    study.tell(failed, state=TrialState.FAIL)
    assert [(row.state, row.value) for row in summary(tmp_path).trials] == [("complete", 43.0), ("failed", None)]


def test_trials_run_only_while_the_search_does(tmp_path: Path, study: optuna.Study) -> None:
    start_trial(study, (40.0,))
    assert [row.state for row in summary(tmp_path).trials] == ["running"]
    header = tmp_path / "run" / "study.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "ended": "2026-01-05T11:30:00+00:00"}))
    assert [row.state for row in summary(tmp_path).trials] == ["interrupted"]


def test_of_low_values_the_lowest_is_the_best(tmp_path: Path) -> None:
    """A journal of Optuna's alone, whose values are to be low."""
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.create_study(study_name="low", storage=storage, direction="minimize")
    for value in (5.0, 3.0, 4.0):
        study.tell(study.ask(), value)
    start_trial(study, (7.0, 2.0, 6.0))
    found = read_summary(tmp_path)
    assert not found.maximize and found.best is not None and found.best.number == 1
    assert found.trials[3].value == 2.0


def look(checkpoint: str, value: float, **facts: Any) -> dict[str, Any]:
    metrics = {"max_box_acc_v2": value}
    return {"time": "2026-01-05T11:00:00+00:00", "checkpoint_sha256": checkpoint, "metrics": metrics, **facts}


@pytest.mark.parametrize(
    ("looks", "shown"),
    [
        ([look(OTHER, 70.0)], None),
        ([look(OTHER, 70.0), look(SHA, 61.0), look(SHA, 66.0, reason="again")], 61.0),
        ([look(SHA, 70.0, state="begun"), look(SHA, 60.0, state="finished")], 60.0),
        ([look(SHA, 70.0, state="maps")], None),
    ],
    ids=["another's", "first", "begun", "maps"],
)
def test_the_test_is_the_first_of_the_winners_own_checkpoint(
    looks: list[dict[str, Any]], shown: float | None, tmp_path: Path, study: optuna.Study
) -> None:
    complete_trial(study, 58.0)
    add_winner(tmp_path / "run", 0)
    (tmp_path / "run" / "test.json").write_text(json.dumps({"evaluations": looks}))
    assert summary(tmp_path).test.get("metrics", {}).get("max_box_acc_v2") == shown
