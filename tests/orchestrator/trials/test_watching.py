"""What watches over trials, without Ray: the clock that ends a hung process, patience with resources, how many trials
fit where, what is counted."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cluster.autoscaler import MAXIMUM
from orchestrator.cluster.nodes import node_resources, shortage
from orchestrator.cluster.plan import Plan, plan_trials
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment, ResourcesConfig
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.journal import open_study
from orchestrator.study.study import Study
from orchestrator.study.watchdog import Watchdog, count_hangs, seconds_allowed
from orchestrator.trials import searcher as searchers
from orchestrator.trials import tuner
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.reminders import Reminder
from orchestrator.trials.searcher import StudySearcher, last_words
from orchestrator.trials.tuner import Attendant
from tests.support.tiny import TINY
from wsol.errors import InputError

HANG = """
import sys, time
from pathlib import Path
from orchestrator.study.watchdog import Watchdog
def stands_still():
    time.sleep(60)
with Watchdog(Path(sys.argv[1]), float(sys.argv[2]), None, int(sys.argv[3])) as dog:
    for _ in range(3):
        time.sleep(0.2)
        with dog.resting(0.2):
            pass
    with dog.resting(0.2):
        time.sleep(1)  # for the search, which may take its time
    stands_still()
"""


def test_a_process_that_hangs_ends_itself_and_leaves_its_stack(tmp_path: Path) -> None:
    for times in (1, 2):
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", HANG, str(tmp_path), "0.01", "0"], timeout=50, check=False)
        assert (
            done.returncode == 1 and time.monotonic() - started > 2.2
        )  # 0.6 seconds for epochs, 1 of rest, 0.6 without an epoch
        assert count_hangs(tmp_path) == times
    assert "stands_still" in (tmp_path / "hung.txt").read_text()
    assert re.match(
        r"hung: no epoch ended for too long, 2 time\(s\); where it stood is in .*hung.txt", last_words(tmp_path)
    )
    subprocess.run([sys.executable, "-c", HANG, str(tmp_path), "0.01", "1"], timeout=50, check=False)
    assert (tmp_path / "hung-1.txt").exists() and count_hangs(tmp_path) == 2  # all that train together hang together


def test_a_process_that_does_not_hang_leaves_nothing(tmp_path: Path) -> None:
    with Watchdog(tmp_path / "trial", 0.01, None) as watchdog, watchdog.resting(1.0):
        time.sleep(0.7)
    time.sleep(0.7)
    assert not list((tmp_path / "trial").iterdir()) and count_hangs(tmp_path / "trial") == 0


@pytest.mark.parametrize(
    ("minutes", "longest", "seconds"),
    [(5.0, 9999.0, 300.0), (None, None, None), (None, 2.0, 1800.0), (None, 600.0, 6000.0)],
    ids=str,
)
def test_the_limit_is_generous(minutes: float | None, longest: float | None, seconds: float | None) -> None:
    assert seconds_allowed(minutes, longest) == seconds


def test_the_last_words_are_those_of_the_last_death(tmp_path: Path) -> None:
    assert "without a message" in last_words(tmp_path)
    (tmp_path / "error.txt").write_text("Traceback\nValueError: no\n")
    assert last_words(tmp_path) == "ValueError: no"
    (tmp_path / "hung.txt").write_text("Timeout (0:30:00)!\n")
    assert last_words(tmp_path).startswith("hung: ")


def experiment(**study: Any) -> Experiment:
    return Experiment.model_validate({**copy.deepcopy(TINY), "study": {"trials": 3, **study}})


def searcher(folder: Path, of: Experiment, stopped: list[bool]) -> tuple[Study, StudySearcher]:
    study = Study.create(folder, of, {"study_name": "tiny"})
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
    attendant = Attendant(tune)
    alive = [{"NodeID": "here", "Alive": True}, {"NodeID": "there", "Alive": True}]
    monkeypatch.setattr(tuner.ray, "nodes", lambda: alive)
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


def test_patience_ends_ever_later() -> None:
    patience, said = Reminder(), []
    for second in range(400):
        if line := patience.line(float(second), True, lambda: "no GPU"):
            said.append((second, line))
    assert said == [(30, "no GPU"), (60, "no GPU"), (120, "no GPU"), (240, "no GPU")]
    assert patience.line(500.0, False, lambda: "no GPU") is None
    assert patience.line(510.0, True, lambda: "no GPU") is None
    asked: list[int] = []
    for second in range(600, 700):
        assert (
            patience.line(float(second), True, lambda: asked.append(1)) is None
        )  # nothing is scarce: it only takes long
    assert len(asked) < 25


def test_what_is_scarce_is_said_in_numbers() -> None:
    waiting: list[list[dict[str, float]]] = [[{"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}], [{"CPU": 4, "GPU": 1}]]
    line = shortage(waiting, {"CPU": 3.0}, {"CPU": 16.0, "GPU": 2.0, "memory": 1e9})
    assert line == "2 x 8 CPU, 2 GPU in 2 bundle(s) asked for; free: 3 of 16 CPU, 0 of 2 GPU"
    assert len(f"waits: {line}") <= 80


@pytest.mark.parametrize(
    ("wanted", "available", "nodes", "concurrent"),
    [
        ({"gpus_per_worker": 0.5}, {"CPU": 8, "GPU": 1}, [], 2),
        ({"gpus_per_worker": 0.1}, {"CPU": 99, "GPU": 1}, [], 10),
        ({"gpus_per_worker": 0.4}, {"CPU": 99, "GPU": 3}, [], 6),  # two on each; no worker lies on two GPUs
        ({"gpus_per_worker": 0.5, "cpus_per_worker": 4}, {"CPU": 8, "GPU": 4}, [], 2),
        ({}, {"CPU": 8, "GPU": 2}, [], 2),
        ({}, {"CPU": 8}, [], 8),
        ({"gpus_per_worker": 0.0}, {"CPU": 8, "GPU": 2}, [], 8),
        ({"cpus_per_worker": 3}, {"CPU": 8}, [{"CPU": 4}, {"CPU": 4}], 2),
        ({"cpus_per_worker": 3}, {"CPU": 9}, [{"CPU": 5}, {"CPU": 4}], 2),  # not three
        ({"workers": 2, "gpus_per_worker": 1.0}, {"CPU": 8, "GPU": 4}, [{"CPU": 6, "GPU": 3}, {"CPU": 2, "GPU": 1}], 2),
        ({"concurrent_trials": 3, "gpus_per_worker": 0.25}, {"CPU": 8, "GPU": 1}, [], 3),
    ],
    ids=str,
)
def test_how_many_trials_fit(
    wanted: dict[str, Any], available: dict[str, float], nodes: list[dict[str, float]], concurrent: int
) -> None:
    assert plan_trials(ResourcesConfig(**wanted), 100, available, nodes).concurrent == concurrent


@pytest.mark.parametrize(
    ("wanted", "available", "nodes", "said"),
    [
        ({"gpus_per_worker": 0.5}, {"CPU": 8}, [], "needs 0.5 GPU where there are 0"),
        (
            {"cpus_per_worker": 9, "gpus_per_worker": 4.0},
            {"CPU": 32, "GPU": 8},
            [{"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 6, "memory": 1.0}][:1] * 2,
            "needs 4 GPU + 9 CPU on one node, and there is room for 0 on: 2 GPU + 16 CPU, 2 GPU + 16 CPU",
        ),
        (
            {"workers": 3, "cpus_per_worker": 3},
            {"CPU": 10},
            [{"CPU": 5}, {"CPU": 5}],
            "each of the 3 worker(s) .* room for 2 on",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_with_numbers(
    wanted: dict[str, Any], available: dict[str, float], nodes: list[dict[str, float]], said: str
) -> None:
    with pytest.raises(
        InputError, match=re.escape(said) if ".*" not in said else said.replace("(", r"\(").replace(")", r"\)")
    ):
        plan_trials(ResourcesConfig(**wanted), 100, available, nodes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resources.gpus_per_worker=1.5"], "should be a whole number above 1, got 1.5"),
        (
            ["resources.workers=2", "resources.gpus_per_worker=0.5"],
            "should be a whole number with several workers, got 0.5",
        ),
    ],
)
def test_parts_of_a_gpu_that_can_not_be_placed_are_refused(space_file: Path, words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"resources.gpus_per_worker: {said}")):
        load_experiment(space_file, words)
    assert load_experiment(space_file, ["resources.gpus_per_worker=0.5"]).experiment.resources.gpus_per_worker == 0.5
    assert (
        load_experiment(
            space_file, ["resources.workers=2", "resources.gpus_per_worker=2.0"]
        ).experiment.resources.workers
        == 2
    )


def test_nodes_of_a_cluster_that_may_grow_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAXIMUM, '{"CPU": 32}')
    assert node_resources() == []
