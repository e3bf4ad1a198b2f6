"""Two launchers that begin one run at the same moment: one goes on, the other is told so in a line."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from orchestrator.experiment.load import Loaded, load_experiment
from orchestrator.runs.folder import open_experiment
from orchestrator.runs.journal import open_study
from orchestrator.study.begin import begin_study
from tests.support.launcher import command, environment
from wsol.errors import InputError

ROUNDS = 50


def begin_rounds(root: Path, seed: int, together: Barrier) -> None:
    """What one launcher does: begin every run with its own seed, ask for a trial, and say how it went."""
    experiment = load_experiment(root / "space.yaml", [f"trial.seed={seed}"]).experiment
    for number in range(ROUNDS):
        folder = root / f"run-{number}"
        together.wait()
        try:
            study = begin_study(folder, Loaded(experiment, f"seed {seed}", folder.name), "train")
        except InputError as error:
            outcome = str(error)
        else:
            task = study.ask()
            outcome = "" if task is not None and task.config.seed == seed else "another one's trial"
        together.wait()
        if not outcome:
            study.close()
        (root / f"outcome-{number}-{seed}").write_text(outcome or "began")


@pytest.mark.slow
def test_two_launchers_that_begin_one_run_never_lose_or_mix_it(tmp_path: Path, space_file: Path) -> None:
    (tmp_path / "space.yaml").write_text(space_file.read_text())
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(2, timeout=120)
    launchers = [spawn.Process(target=begin_rounds, args=(tmp_path, seed, together)) for seed in (1, 2)]
    for launcher in launchers:
        launcher.start()
    for launcher in launchers:
        launcher.join(300)
    assert [launcher.exitcode for launcher in launchers] == [0, 0]
    for number in range(ROUNDS):
        outcomes = {seed: (tmp_path / f"outcome-{number}-{seed}").read_text() for seed in (1, 2)}
        began = [seed for seed, outcome in outcomes.items() if outcome == "began"]
        assert len(began) == 1, outcomes
        assert all("is working on this study" in outcome for seed, outcome in outcomes.items() if seed not in began)
        folder = tmp_path / f"run-{number}"
        assert open_experiment(folder).trial.seed == began[0]
        assert json.loads((folder / "study.json").read_text())["source"] == f"seed {began[0]}"
        assert len(open_study(folder).trials) == 1


@pytest.mark.slow
def test_of_two_trainings_that_begin_one_run_one_says_why_it_does_not(tmp_path: Path, space_file: Path) -> None:
    words = [command("train", str(space_file), f"trial.seed={seed}", "--run", str(tmp_path / "run")) for seed in (1, 2)]
    pair = [
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        for line in words
    ]
    said = [process.communicate(timeout=400) for process in pair]
    codes = [process.returncode for process in pair]
    assert sorted(codes) == [0, 2], said
    lost = codes.index(2)
    lines = said[lost][1].strip().splitlines()
    assert len(lines) == 1 and ("is working on this study" in lines[0] or "holds a run already" in lines[0])
    assert open_experiment(tmp_path / "run").trial.seed == 2 - lost
    assert not list((tmp_path / "run").glob("*.part"))
