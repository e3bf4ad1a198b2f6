"""What watches over trials, without Ray: the clock that ends a hung process, reminders of waits, what is counted."""

from __future__ import annotations

import copy
import faulthandler
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pytest
from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.cluster.raylet import RayletWatch
from orchestrator.experiment.model import Experiment
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.header import RunHeader
from orchestrator.runs.journal import open_study
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from orchestrator.study.watchdog import Watchdog, count_hangs, seconds_allowed
from orchestrator.trials import searcher as searchers
from orchestrator.trials.causes import cause_of_death
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.reminders import Reminder
from orchestrator.trials.searcher import StudySearcher
from orchestrator.trials.tuner import Attendant
from tests.support.tiny import TINY

HANG = """
import sys, time
from pathlib import Path
from orchestrator.study.watchdog import Watchdog
def stands_still():
    time.sleep(60)
with Watchdog(Path(sys.argv[1]), 0.01, None, int(sys.argv[2])) as dog:
    with dog.resting(0.2):
        time.sleep(1)  # longer than the 0.6 seconds of an epoch: for the search, which may take its time
    stands_still()
"""


def test_a_process_that_hangs_ends_itself_and_leaves_its_stack(tmp_path: Path) -> None:
    for times in (1, 2):
        done = subprocess.run([sys.executable, "-c", HANG, str(tmp_path), "0"], timeout=50, check=False)
        assert done.returncode == 1 and count_hangs(tmp_path) == times
        assert (tmp_path / "hung.txt").read_text().count("stands_still") == times
    assert re.match(
        r"hung: no epoch ended for too long, 2 time\(s\); where it stood is in .*hung.txt", cause_of_death(tmp_path)
    )
    subprocess.run([sys.executable, "-c", HANG, str(tmp_path), "1"], timeout=50, check=False)
    assert (tmp_path / "hung-1.txt").exists() and count_hangs(tmp_path) == 2  # all that train together hang together


def test_a_process_that_does_not_hang_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock runs while an epoch does, anew for each, and neither while it rests nor afterwards."""
    running: list[float] = []

    def start(seconds: float, *, exit: bool, file: TextIO) -> None:
        assert exit and file.name == str(tmp_path / "trial" / "hung.txt")
        running[:] = [seconds]

    monkeypatch.setattr(faulthandler, "dump_traceback_later", start)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", running.clear)
    for minutes, longest, limits in (
        (0.01, None, [0.6, 0.6]),
        (None, None, [0.0, 7000.0]),
        (None, 900.0, [9000.0] * 2),
    ):
        with Watchdog(tmp_path / "trial", minutes, longest) as watchdog:
            assert sum(running) == limits[0]
            for _ in range(2):
                with watchdog.resting(700.0):
                    assert not running
                assert sum(running) == limits[1]
        assert not running and not list((tmp_path / "trial").iterdir()) and count_hangs(tmp_path / "trial") == 0


@pytest.mark.parametrize(
    ("minutes", "longest", "seconds"),
    [(5.0, 9999.0, 300.0), (None, None, None), (None, 2.0, 1800.0), (None, 600.0, 6000.0)],
    ids=str,
)
def test_the_limit_is_generous(minutes: float | None, longest: float | None, seconds: float | None) -> None:
    assert seconds_allowed(minutes, longest) == seconds


def experiment(**study: Any) -> Experiment:
    return Experiment.model_validate({**copy.deepcopy(TINY), "study": {"trials": 3, **study}})


def searcher(folder: Path, of: Experiment, stopped: list[bool]) -> tuple[Study, StudySearcher]:
    study = create_study(folder, of, RunHeader("tiny"))
    return study, StudySearcher(
        study, Plan(1, 1, 0.0, 2, {}), SearchProgress(3, 2, console=Console(quiet=True)), lambda: bool(stopped)
    )


def epoch(number: int, seconds: float = 1.0) -> dict[str, Any]:
    value = 10.0 * number
    return {
        "epoch": number,
        "objective_now": value,
        "train_fullsup/max_box_acc_v2": value,
        "train/loss": 1.0,
        "seconds": seconds,
    }


def test_trials_know_the_longest_epoch_of_the_study_also_after_a_restart(tmp_path: Path) -> None:
    of = experiment(hang_minutes=7.0)
    study, tune = searcher(tmp_path, of, [])
    first = tune.suggest("a")
    assert isinstance(first, dict) and (first["hang_minutes"], first["longest_epoch"]) == (7.0, None)
    tune.after_epoch("a", epoch(1, 3.0))
    tune.after_epoch("a", epoch(2, 2.0))
    assert study.longest_epoch == 3.0
    study.complete(0, [epoch(1, 3.0), epoch(2, 2.0)], 5.0, "here")
    study.close()
    again = Study(tmp_path, of)
    assert again.longest_epoch == 2.0  # of the best epochs, which is enough for ten times as much
    again.close()


def test_what_hung_is_recorded(tmp_path: Path) -> None:
    study, tune = searcher(tmp_path, experiment(max_failures=1), [])
    for name in "ab":
        assert tune.suggest(name)
    (trial_folder(tmp_path, 0) / "hung.txt").write_text("Timeout (0:30:00)!\n" * 2)
    tune.restarted("a", lost_node=False)
    tune.on_trial_complete("a", error=True)
    study.complete(1, [epoch(1)], 1.0, "here")
    assert study.retry() == [0] and tune.suggest("c")
    study.complete(2, [epoch(1)], 1.0, "here")
    hung, fine, again = open_study(tmp_path).trials
    assert (
        hung.state.name == "FAIL" and hung.user_attrs["hung"] == 2 and hung.user_attrs["failure"].startswith("hung: ")
    )
    assert (trial_folder(tmp_path, 0) / "hung.txt").exists()
    for trial in (fine, again):
        assert trial.state.name == "COMPLETE" and "hung" not in trial.user_attrs and "restarts" not in trial.user_attrs


def test_a_trial_that_tune_gives_up_too_early_is_asked_for_again(tmp_path: Path) -> None:
    _, tune = searcher(tmp_path, experiment(trials=1, max_failures=2), [])
    assert tune.suggest("a")
    tune.restarted("a", lost_node=False)
    assert tune.suggest("b") is None  # not the end: the running trial may come back
    tune.on_trial_complete("a", error=True)
    again = tune.suggest("b")
    assert isinstance(again, dict) and again["number"] == 0
    tune.on_trial_complete("b", error=True)  # now it has used up its restarts
    assert tune.suggest("c") == "FINISHED"
    (trial,) = open_study(tmp_path).trials
    assert trial.state.name == "FAIL" and trial.user_attrs["restarts"] == 2


def test_after_the_first_signal_every_trial_ends_its_epoch(tmp_path: Path) -> None:
    stopped: list[bool] = []
    study, tune = searcher(tmp_path, experiment(), stopped)
    assert tune.suggest("a") and tune.suggest("b")
    assert tune.after_epoch("a", epoch(1)) == "CONTINUE"
    tune.between_steps(["a", "b"])
    stopped.append(True)
    tune.between_steps(["a", "b"])
    assert tune.suggest("c") == searchers.Searcher.FINISHED
    assert tune.after_epoch("b", epoch(1)) == "NOOP"  # waits in its report
    tune.between_steps(["a", "b"])
    assert tune.after_epoch("a", epoch(2)) == "CONTINUE"  # was its last epoch: it may as well end
    tune.between_steps(["a", "b"])
    study.complete(0, [epoch(1), epoch(2)], 1.0, "here")
    with pytest.raises(KeyboardInterrupt):
        tune.between_steps(["b"])
    study.close()
    assert [trial.state.name for trial in open_study(tmp_path).trials[:2]] == ["COMPLETE", "RUNNING"]


def tune_trial(name: str, failures: int, node: str | None) -> Any:
    return SimpleNamespace(
        trial_id=name, run_metadata=SimpleNamespace(num_failures=failures), last_result={"node": node} if node else None
    )


def test_lost_nodes_are_no_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drained ones are not counted by Ray, the others are taken back as soon as they are known to be dead."""
    study, tune = searcher(tmp_path, experiment(), [])
    attendant = Attendant(tune, RayletWatch(lambda: True))
    alive = [{"NodeID": "here", "Alive": True}, {"NodeID": "there", "Alive": True}]
    monkeypatch.setattr("ray.nodes", lambda: alive)
    monkeypatch.setattr(searchers, "what_waits_for_room", lambda: None)
    trials = {
        name: tune_trial(name, failures, node)
        for name, failures, node in [("a", 1, "there"), ("b", 1, "here"), ("c", 0, "here")]
    }
    for name, trial in trials.items():
        assert tune.suggest(name)
        attendant.on_trial_recover(0, [], trial)
    attendant.on_step_end(0, [])
    alive[1]["Alive"] = False
    attendant._looked = 0.0
    attendant.on_step_end(0, [])
    trials["a"].run_metadata.num_failures += 1
    attendant.on_trial_recover(0, [], trials["a"])
    for number in range(3):
        study.complete(number, [epoch(1)], 1.0, "here")
    counted = [
        (trial.user_attrs.get("restarts", 0), trial.user_attrs.get("preemptions", 0))
        for trial in open_study(tmp_path).trials
    ]
    assert counted == [(1, 1), (1, 0), (0, 1)]
    assert [trial.run_metadata.num_failures for trial in trials.values()] == [1, 1, 0]


def test_reminders_come_ever_more_rarely() -> None:
    reminder, said = Reminder(), []
    for second in range(400):
        if line := reminder.line(float(second), True, lambda: "no GPU"):
            said.append((second, line))
    assert said == [(30, "no GPU"), (60, "no GPU"), (120, "no GPU"), (240, "no GPU")]
    assert reminder.line(500.0, False, lambda: "no GPU") is None
    assert reminder.line(510.0, True, lambda: "no GPU") is None
    asked: list[int] = []
    for second in range(600, 700):
        assert (
            reminder.line(float(second), True, lambda: asked.append(1)) is None
        )  # nothing is scarce: it only takes long
    assert len(asked) < 25
