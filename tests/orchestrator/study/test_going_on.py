"""Studies that go on: retried, prolonged, stopped by failures, mended."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.checkpoints import drop_checkpoints
from orchestrator.study.points import recorded_points
from orchestrator.study.study import Study
from tests.support.played_studies import plain_optuna, run, states
from tests.support.studies import create, experiment, rising
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig
from wsol.errors import InputError


def test_failed_trials_are_put_back_once_with_their_values_and_files(tmp_path: Path) -> None:
    of = experiment(study={"trials": 5})
    study = create(tmp_path, of)
    run(study, limit=2)
    failed = study.ask()
    assert failed is not None
    (failed.folder / "manifest.json").write_text("{}")
    study.fail(failed.number, "killed", 1.0, "here")
    run(study)
    assert study.planned == 5
    with pytest.raises(InputError, match="trial 1 did not fail; failed are 2"):
        study.retry([1])
    assert study.retry() == [2] and study.retry() == [] and study.unfinished() == 1
    again = study.ask()
    assert again is not None and study.ask() is None
    assert (again.config, again.number, study.planned) == (failed.config, 5, 6)
    assert study.failed() == []
    assert (again.folder / "manifest.json").exists() and not (failed.folder / "manifest.json").exists()
    study.fail(5, "killed again", 1.0, "here")
    assert study.retry([5]) == [5]
    run(study)
    assert states(tmp_path) == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]


def test_what_a_retry_goes_on_from_outlives_the_search(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 2, "keep_checkpoints": 1}))
    tasks = [task for task in (study.ask(), study.ask()) if task is not None]
    for task in tasks:
        Checkpoints(task.folder).save({"weight": 1.0}, {"epoch": 1, "objective": 1.0, "objective_now": 1.0}, best=True)
        study.fail(task.number, "killed", 1.0, "here")
    drop_checkpoints(study, tmp_path)
    assert all(Checkpoints(task.folder).newest_intact() is not None for task in tasks)
    study.retry([0])
    assert [trial.number for trial in study.failed()] == [1]


def test_more_trials_later_are_those_of_a_longer_study(tmp_path: Path) -> None:
    run(create(tmp_path / "long", experiment(study={"trials": 14})))
    study = create(tmp_path / "short", experiment(study={"trials": 11}))
    run(study)
    study.close()
    run(Study(tmp_path / "short", experiment(study={"trials": 14})))
    long, short = (plain_optuna(tmp_path / name).trials for name in ("long", "short"))
    assert [trial.params for trial in long] == [trial.params for trial in short] and len(long) == 14


def test_hours_are_counted_over_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("orchestrator.study.clock.time.monotonic", lambda: clock[0])

    def slow(config: TrainConfig) -> list[float]:
        clock[0] += 3600 * 0.4
        return rising(config)

    of = experiment(study={"trials": 9, "hours": 1.0})
    study = create(tmp_path, of)
    run(study, slow, limit=2)
    study.close()
    clock[0] += 1e6  # a pause between the sessions is free
    study = Study(tmp_path, of)
    assert study.enough() is None
    assert len(run(study, slow)) == 1 and study.unfinished() == 0
    assert study.enough() == "the 1 hours of this study are spent (study.hours)"


def test_a_study_stops_when_it_begins_with_the_same_failure(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 9}))
    for number in range(3):
        assert study.stopped() is None
        task = study.ask()
        assert task is not None
        (task.folder / "error.txt").write_text("Traceback\n  line\nCudaError: 3")
        study.fail(number, f"CudaError: {number}", 1.0, "here")
    reason = study.stopped()
    assert (
        study.ask() is None
        and reason is not None
        and "the first 3 trials all failed alike:\nTraceback\n  line\nCudaError: 3" in reason
    )
    study.close()
    study = Study(tmp_path, study.experiment)  # a new session gives it another chance
    assert study.stopped() is None and study.unfinished() == 6


def test_losses_that_became_infinite_or_nan_failed_alike(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 9}))
    for number, value in enumerate(["nan", "inf", "nan"]):
        assert study.ask() is not None
        study.fail(number, f"the loss became {value}", 1.0, "here")
    assert "all failed alike" in str(study.stopped())


def test_epochs_whose_report_was_lost_with_a_machine_are_in_the_journal(tmp_path: Path) -> None:
    study = create(tmp_path, experiment())
    assert study.ask() is not None
    values = {epoch: 50.0 + epoch for epoch in (1, 2, 3)}
    history = [
        {"epoch": epoch, "objective_now": value, "train_fullsup/max_box_acc_v2": value}
        for epoch, value in values.items()
    ]
    study.report(0, history[0])
    study.report(0, history[2])
    study.complete(0, history, 1.0, "here")
    assert plain_optuna(tmp_path).trials[0].intermediate_values == values


def test_different_failures_go_on_until_too_many(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 9, "max_failed_trials": 4}))
    for number, reason in enumerate(["a", "b", "a", "a"]):
        assert study.ask() is not None
        study.fail(number, reason, 1.0, "here")
    assert study.ask() is None and "4 trials failed (study.max_failed_trials: 4), the last one with: a" in str(
        study.stopped()
    )
    study.retry([0])
    assert study.stopped() is None


def test_recorded_points_are_tried_again_exactly(tmp_path: Path) -> None:
    points = [{"name": "heavy", "values": {"optim.weight_decay": 5e-4}}]
    of = experiment(points=points, study={"trials": 6, "max_failed_trials": 9})
    study = create(tmp_path / "first", of)
    run(study, limit=4)
    assert study.ask() is not None
    study.fail(4, "no", 1.0, "here")
    run(study)
    candidates = recorded_points(study.trials(), "first")
    again = create_study(
        tmp_path / "again", experiment(study={"trials": len(candidates)}), RunHeader("again"), candidates
    )
    run(again)
    assert [trial.user_attrs["replay_of"] for trial in again.trials()] == [0, 1, 2, 3, 5]
    known = {trial.number: (study.config_of(trial), trial.values) for trial in study.trials()}
    assert [(again.config_of(trial), trial.values) for trial in again.trials()] == [
        known[number] for number in (0, 1, 2, 3, 5)
    ]
    assert [candidate.name for candidate in recorded_points(study.trials(), "first", [4])] == ["trial 4 of first"]
    with pytest.raises(InputError, match="first: has no trial 9"):
        recorded_points(study.trials(), "first", [9])


def test_a_journal_whose_writer_was_killed_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a line, with the lock in its hand; the run folder is a relative path, as on the command line."""
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/tiny")
    study = create(folder, experiment(study={"trials": 3}))
    run(study, limit=1)
    study.close()
    (folder / "study.journal.lock").symlink_to("runs/tiny/study.journal")
    with (folder / "study.journal").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":')
    study = Study(folder, study.experiment)
    run(study)
    study.close()
    assert states(folder) == ["COMPLETE"] * 3


def test_a_repetition_is_tried_again_as_what_it_repeats() -> None:
    first, again = (
        optuna.trial.create_trial(state=optuna.trial.TrialState.COMPLETE, value=5.0, user_attrs=facts)
        for facts in ({"config_hash": "a"}, {"config_hash": "a", "repeats": 0})
    )
    first.number, again.number = 0, 1
    assert [candidate.name for candidate in recorded_points([first, again], "first")] == ["trial 0 of first"]
