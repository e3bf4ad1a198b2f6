"""`status` of a search in every state, and the verbs as functions."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import orchestrator
from orchestrator.console import PlainConsole
from orchestrator.report.status import read_status, status_lines
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.header import update_header
from tests.support.paths import ROOT
from tests.support.recorded_runs import complete_trial, fail_trial, make_run, start_trial
from tests.support.tiny import OBJECTIVE
from wsol.errors import InputError

TOLD = {"concurrent_trials": 2, "scheduler": "asha", "machine": {"host": "node-7", "cpus": 4.0, "gpus": 1.0}}


def shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    console = PlainConsole(width=100, soft_wrap=True)
    for part in status_lines(read_status(folder)):
        console.print(part)
    return capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search of 20 trials, 2 at a time: one complete in a minute of 3 epochs, one failed, two running."""
    place = tmp_path / "runs" / "crop"
    study = make_run(place, **TOLD)
    complete_trial(study, 58.625)
    fail_trial(study, "CUDA out of memory\nTried to allocate 2 GiB")
    fail_trial(study, "Traceback (most recent call last):\n  line 3\nKeyError: 'x'")
    start_trial(study, (40.0, 47.0))
    start_trial(study)
    (place / "experiment.yaml").write_text(
        "trial: {training: {epochs: 3}}\nresources: {workers: 2, cpus_per_worker: 1}\n"
    )
    return place


@pytest.fixture
def held(folder: Path) -> Iterator[Path]:
    """The same while a process works on it."""
    (folder / "study.owner").write_text(f"{socket.gethostname()}, process 1, since now")
    with FileLock(folder / "study.lock"):
        yield folder


def test_a_running_search(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = read_status(held)
    assert status.epoch_seconds == pytest.approx(20.5)
    assert status.left == pytest.approx((1 + 3 + 15 * 3) * 20.5 / 2)
    text = shown(held, capsys)
    assert f"{held}: running; 1 complete, 2 failed, 2 running, of 20" in text
    assert "best so far: trial 0, train_fullsup/max_box_acc_v2 58.62" in text
    assert "an epoch takes 20s; ETA at most 8m 22s" in text
    assert (
        "waits: 15 trials for a free place: 2 at a time, a trial takes 2 worker(s) with 1 CPU(s) each, there are 4 CPUs"
        " and 1 GPUs" in text
    )
    experiment = held / "experiment.yaml"
    experiment.write_text(experiment.read_text().replace("workers: 2,", "workers: 2, gpus_per_worker: 0.5,"))
    assert "a trial takes 2 worker(s) with 1 CPU(s) and 0.5 GPU(s) each, there are" in shown(held, capsys)
    assert "failed: trial 1: CUDA out of memory\n" in text and "failed: trial 2: KeyError: 'x'" in text
    assert "python launch.py retry" in text
    (row,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["3", "running"]]
    assert row[2:4] == ["2/3", "47.00"]


def test_ended_trials_that_are_not_shown_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_run(tmp_path / "long", ended="2026-01-05T11:30:00+00:00", trials=7)
    for value in range(5):
        complete_trial(study, value)
    assert "not shown" not in shown(tmp_path / "long", capsys)
    complete_trial(study, 58.0)
    complete_trial(study, 57.0)
    text = shown(tmp_path / "long", capsys)
    assert [line.split()[0] for line in text.splitlines() if " complete  " in line] == ["2", "3", "4", "5", "6"]
    assert text.splitlines()[-1] == "2 trials that ended earlier not shown; trials.csv has all"


def test_epochs_are_timed_by_their_records(held: Path) -> None:
    place = trial_folder(held, 3)
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(
        json.dumps({"history": [{"seconds": 30.0}, {"seconds": 40.0}], "latest": None, "best": None})
    )
    assert read_status(held).epoch_seconds == 30.0  # the median of 20.5, 30, 40


def test_an_interrupted_search_says_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime.now(UTC).timestamp() - 7200
    for name in ("study.journal", "study.json"):
        os.utime(folder / name, (moment, moment))
    text = shown(folder, capsys)
    assert ": interrupted" in text and "ETA" not in text
    assert (
        f"waits: 2 trials interrupted, each continues from its last checkpoint with: python launch.py resume {folder}"
        in text
    )
    assert "waits: 15 trials not started; nothing runs" in text


def test_a_finished_search_and_one_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_run(tmp_path / "done", ended="2026-01-05T11:30:00+00:00", trials=1)
    complete_trial(study, 58.0)
    assert "waits" not in shown(tmp_path / "done", capsys)
    update_header(tmp_path / "done", trials=4, enough="the last 3 trials found nothing better")
    text = shown(tmp_path / "done", capsys)
    assert "waits: 3 trials not needed: the last 3 trials found nothing better" in text
    assert f"python launch.py resume {tmp_path / 'done'} study.hours=... or study.stop=null" in text
    make_run(tmp_path / "new")
    assert "no trial yet, of 20" in shown(tmp_path / "new", capsys)
    with pytest.raises(InputError, match="no search here"):
        read_status(tmp_path)


@pytest.mark.parametrize(
    ("damaged", "content"),
    [
        ("study.json", '{"study_name": "crop", "ended": "2026-01-05T11:30:00+00:00"'),
        ("study.journal", "no journal\nat all\n"),
        ("best/result.json", "{"),
        ("test.json", "[]"),
        ("trials/0000/manifest.json", '{"history": 3}'),
        ("experiment.yaml", "trial: {training: [" + "\n"),
    ],
)
def test_a_damaged_run_is_not_called_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: str, content: str
) -> None:
    folder = tmp_path / "run"
    complete_trial(make_run(folder, ended="2026-01-05T11:30:00+00:00", trials=1), 58.0)
    assert ": finished" in shown(folder, capsys)
    (folder / damaged).parent.mkdir(parents=True, exist_ok=True)
    (folder / damaged).write_text(content)
    text = shown(folder, capsys)
    assert "finished" not in text and "never started" not in text
    assert [line for line in text.splitlines() if line.startswith("note: ") and Path(damaged).name in line]


def test_a_damaged_file_is_noted_while_a_search_runs(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (held / "test.json").write_text("{")
    text = shown(held, capsys)
    assert f"{held}: running; 1 complete" in text
    assert [line for line in text.splitlines() if line.startswith("note: ") and "test.json" in line]


def test_reasons_and_places_cannot_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_run(tmp_path / "run")
    fail_trial(study, "lost \x1b]0;owned\x07 [bold]at[/bold] cor[x]")
    trial = start_trial(study, (50.0,))
    trial.set_user_attr("worker", "node[1]\x1b[2J:7")
    text = shown(tmp_path / "run", capsys)
    assert r"failed: trial 0: lost \x1b]0;owned\x07 [bold]at[/bold] cor[x]" in text
    assert r"node[1]\x1b[2J:7" in text


def test_trials_that_were_put_back_wait(tmp_path: Path) -> None:
    study = make_run(tmp_path / "a", trials=2)
    complete_trial(study, 50.0)
    study.enqueue_trial({})
    study.enqueue_trial({})
    status = read_status(tmp_path / "a")
    assert [trial.state for trial in status.summary.trials] == ["complete", "waiting", "waiting"]
    assert status.waiting[0].startswith("2 trials")


def test_the_verbs_are_functions(folder: Path) -> None:
    study = orchestrator.load_study(folder)
    assert isinstance(study, optuna.Study) and [t.state for t in study.trials][:2] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
    ]
    assert orchestrator.read_summary(str(folder)).best.value == 58.625  # type: ignore[union-attr]
    assert orchestrator.write_report(str(folder)) == folder / "report.html"
    assert orchestrator.read_status(folder).summary.objective == OBJECTIVE
    for name in orchestrator.__all__:
        assert callable(getattr(orchestrator, name)) and getattr(orchestrator, name).__doc__
    with pytest.raises(AttributeError, match="serch"):
        orchestrator.serch  # noqa: B018


def test_a_run_from_python(space_file: Path) -> None:
    from orchestrator import evaluate, load_experiment, load_study, train

    run = train(space_file, "training.epochs=1", run="runs/mine")
    assert run == Path("runs/mine") and load_experiment(space_file).trial.training.epochs == 2
    assert evaluate(run)["max_box_acc_v2"] == load_study(run).best_value


def test_functions_are_found_after_all_modules_were_imported() -> None:
    """A module of the same name would take the place of a function."""
    code = (
        "import orchestrator.verbs.search, orchestrator.trials.tuner, orchestrator.comparison.rows\n"
        "from orchestrator import *\n"
        "print(search, resume, evaluate)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.count("<function") == 3


def test_other_programs_read_the_journal_while_the_search_runs(held: Path) -> None:
    """As `optuna-dashboard runs/crop/study.journal` does: with Optuna alone, knowing nothing but the path of the
    file."""
    journal = held / "study.journal"
    before, storage = journal.read_bytes(), JournalStorage(JournalFileBackend(str(journal)))
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": 1, "FAIL": 2, "RUNNING": 2}
    assert study.trials[3].intermediate_values == {1: 40.0, 2: 47.0} and study.best_value == 58.625
    assert journal.read_bytes() == before
