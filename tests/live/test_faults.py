"""Real searches that are interrupted, whose trials hang, whose processes and nodes die. Slow."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cluster.environment import session_folder
from orchestrator.experiment.load import load_experiment
from orchestrator.runs.folder import trial_folder, write_experiment
from orchestrator.runs.header import RunHeader
from orchestrator.runs.journal import open_study
from orchestrator.study.begin import create_study
from orchestrator.study.watchdog import count_hangs
from tests.support.launcher import LONG, command, environment, launch, rows, wait_for
from wsol import build
from wsol.checkpoint import Checkpoints

pytestmark = pytest.mark.slow

RUN = Path("runs/tiny")
PATIENCE = 90
"""Seconds for what takes three on quiet cores."""


@contextlib.contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`launch.py` with words, for the time of the block."""
    process = subprocess.Popen(
        command(*words), env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def epochs(number: int) -> int:
    return len(Checkpoints(trial_folder(RUN, number)).history)


def worker_of(number: int) -> int:
    """Process id of the one that writes a trial's TensorBoard events."""
    events = max(trial_folder(RUN, number).glob("events.out.tfevents.*.[0-9]*"), key=lambda path: path.stat().st_mtime)
    return int(events.name.split(".")[-2])


def child_named(process: subprocess.Popen[str], name: str) -> int:
    """Process id of a child of a process."""
    (found,) = Path(f"/proc/{process.pid}/task").glob(f"{process.pid}/children")
    children = [int(number) for number in found.read_text().split()]
    return next(number for number in children if Path(f"/proc/{number}/comm").read_text().strip() == name)


def running() -> list[str]:
    return [trial.state.name for trial in open_study(RUN).get_trials(deepcopy=False)]


def test_an_interrupted_search_ends_its_epochs_and_a_second_signal_does_not_wait(space_file: Path) -> None:
    words = ["study.trials=2", "training.epochs=200", "resources.concurrent_trials=2"]
    with started("search", str(space_file), *words) as process:
        wait_for(lambda: epochs(0) and epochs(1), process)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 130 and time.monotonic() - asked < PATIENCE, out
    assert (
        "stops when the running epochs have ended" in out and "continue with: python launch.py resume runs/tiny" in out
    )
    assert running() == ["RUNNING"] * 2 and (RUN / "trials.csv").exists()
    reported = [max(trial.intermediate_values) for trial in open_study(RUN).trials]
    assert reported == [epochs(0), epochs(1)]  # the last epoch that was trained was kept and reported, none was cut off

    with started("resume", str(RUN)) as again:
        wait_for(lambda: epochs(0) > reported[0] and epochs(1) > reported[1], again)
        again.send_signal(signal.SIGINT)
        time.sleep(0.05)
        asked = time.monotonic()
        again.send_signal(signal.SIGINT)
        out, _ = again.communicate(timeout=LONG)
    assert again.returncode == 130 and time.monotonic() - asked < PATIENCE / 5 and "continue with" in out, out
    assert running() == ["RUNNING"] * 2
    assert f"trial   0  epoch {reported[0]:>3}/200" not in out  # was not trained again


TURNS = """
import sys, time
from pathlib import Path
from orchestrator.cluster.environment import session_folder
from orchestrator.experiment.load import load_experiment
from orchestrator.study.study import Study
from wsol.errors import InputError
folder, done = Path("run"), 0
while done < 40:
    try:
        study = Study(folder, load_experiment(folder / "experiment.yaml").experiment)
    except InputError as error:
        assert "is working on this study" in str(error), error
        time.sleep(0.002)
        continue
    task = study.ask()
    study.complete(task.number, [{"epoch": 1, "objective_now": 1.0, task.objective: 1.0}], 1.0, sys.argv[1])
    study.close()
    done += 1
"""


def test_two_processes_take_turns_at_a_study_and_lose_nothing(space_file: Path) -> None:
    experiment = load_experiment(space_file, ["study.trials=80", "study.sampler=random"]).experiment
    Path("run").mkdir()
    write_experiment(Path("run"), experiment, "for two")
    create_study(Path("run"), experiment, RunHeader("run")).close()
    both = [subprocess.Popen([sys.executable, "-c", TURNS, name], env=environment()) for name in "ab"]
    assert [process.wait(200) for process in both] == [0, 0]
    trials = open_study(Path("run")).trials
    assert [trial.number for trial in trials] == list(range(80)) and {trial.state.name for trial in trials} == {
        "COMPLETE"
    }
    assert [trial.user_attrs["worker"] for trial in trials].count("a") == 40 and len(
        {str(trial.params) for trial in trials}
    ) == 80


def test_a_training_that_is_interrupted_ends_its_epoch(space_file: Path) -> None:
    with started("train", str(space_file), "training.epochs=5000") as process:
        wait_for(lambda: epochs(0), process)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 130 and time.monotonic() - asked < PATIENCE, out
    assert (
        "stops when the running epochs have ended" in out and "continue with: python launch.py resume runs/tiny" in out
    )
    assert running() == ["RUNNING"] and max(open_study(RUN).trials[0].intermediate_values) == epochs(0)


def test_a_trial_that_hangs_is_started_again_and_recorded(space_file: Path) -> None:
    """The file system stops answering: an image is a pipe that nobody writes to. After the first time it answers
    again."""
    words = [
        "study.trials=1",
        "study.max_failures=9",
        "study.hang_minutes=0.5",
        "data.cache='off'",
        "training.epochs=2",
    ]
    dataset = build.dataset(load_experiment(space_file).experiment.trial.data)
    image = dataset.split("train_weaksup").image_path(3)
    content = image.read_bytes()
    image.unlink()
    os.mkfifo(image)
    stacks = trial_folder(RUN, 0) / "hung.txt"
    with started("search", str(space_file), *words) as process:
        wait_for(lambda: "_decode" in stacks.read_text() if stacks.exists() else False, process)
        image.unlink()
        image.write_bytes(content)
        out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0, out
    assert "hung (see hung.txt in its folder); starts again at epoch 1" in out  # none had ended
    (row,) = rows("runs/tiny")
    assert row["state"] == "complete" and row["hung"] == row["restarts"] == str(count_hangs(trial_folder(RUN, 0)))


def test_a_killed_raylet_ends_the_search_with_a_line(space_file: Path) -> None:
    """Ray Tune would wait for it for ever. What Ray logs meanwhile is its user's alone."""
    with started("search", str(space_file), "study.trials=2", "training.epochs=4000") as process:
        wait_for(lambda: epochs(0), process)
        private = session_folder().parent
        assert private.stat().st_uid == os.geteuid() and stat.S_IMODE(private.stat().st_mode) == 0o700
        session = (session_folder() / "session_latest").resolve()
        assert (session / "logs" / "raylet.out").exists() and private in session.parents
        os.kill(child_named(process, "raylet"), signal.SIGKILL)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "Traceback" not in out, out
    (line,) = [line for line in out.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: Ray has died on this machine: its raylet was killed")
    assert line.endswith("continue with: python launch.py resume runs/tiny")
    assert set(running()) == {"RUNNING"}


def test_a_search_whose_reader_ends_with_it_is_interrupted_as_any_other(space_file: Path) -> None:
    """As `| tee log`, which Ctrl-C ends, too."""
    words = command("search", str(space_file), "study.trials=2", "training.epochs=4000")
    process = subprocess.Popen(words, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: epochs(0), process)
        process.stdout.close()  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()  # type: ignore[union-attr]
        assert process.wait(PATIENCE) == 130 and "Traceback" not in errors and "Error" not in errors, errors
    finally:
        process.kill()
    assert set(running()) == {"RUNNING"} and (RUN / "trials.csv").exists()


def test_killed_workers_are_started_again_from_their_checkpoints(space_file: Path) -> None:
    with started(
        "search", str(space_file), "study.trials=2", "training.epochs=80", "resources.concurrent_trials=2"
    ) as process:
        wait_for(lambda: epochs(0) and epochs(1), process)
        before = epochs(0), epochs(1)
        for worker in {worker_of(0), worker_of(1)}:
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: epochs(0) > before[0] + 1 and epochs(1) > before[1] + 1, process)
        out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0, out
    trials = open_study(RUN).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(sorted(trial.intermediate_values) == list(range(1, 81)) for trial in trials)
    assert [trial.user_attrs["restarts"] for trial in trials] == [1, 1]
    assert out.count("lost its process; goes on from its last checkpoint") == 2
    printed = [
        line.split("epoch")[1].split("/")[0].strip() for line in out.splitlines() if line.startswith("trial   0  epoch")
    ]
    assert len(printed) - len(set(printed)) <= 1  # at most the epoch whose report was lost is said twice
    code, _ = launch("status", str(RUN))
    assert code == 0
