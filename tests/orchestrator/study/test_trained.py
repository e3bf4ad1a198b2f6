"""An experiment that was edited by hand is not taken for what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from orchestrator.winner.result import export_winner
from tests.support.tiny import TINY, Launch
from wsol.errors import InputError
from wsol.training import train


def edit(path: Path, **changes: object) -> None:
    """Change values of `trial` in a file, as an editor would."""
    content = yaml.safe_load(path.read_text())
    for name, value in changes.items():
        section, _, key = name.partition("__")
        content["trial"][section] = {**content["trial"][section], key: value} if key else value
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_run_whose_experiment_was_edited_is_refused_with_the_value(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    before = Path("run/best.yaml").read_text()
    edit(Path("run/experiment.yaml"), optim__weight_decay=0.5)
    code, _, err = launch("resume", "run")
    assert code == 2 and "what was trained: of trial 0, optim.weight_decay: 0.5 and 0.0001; put it back" in err
    assert "Traceback" not in err and Path("run/best.yaml").read_text() == before
    edit(Path("run/experiment.yaml"), optim__weight_decay=0.0001)
    edit(Path("run/experiment.yaml"), data__workers=2)  # changes no number
    assert launch("resume", "run")[0] == 0


def test_trials_without_their_files_are_compared_by_their_hash(tmp_path: Path) -> None:
    of = Experiment.model_validate(TINY)
    study = create_study(tmp_path, of, RunHeader("tiny", objectives=tuple(of.study.objectives)))
    assert study.ask() is not None
    study.close()
    other = Experiment.model_validate({**TINY, "trial": {**TINY["trial"], "seed": 5}})
    Study(tmp_path, other).close()  # nothing was trained yet
    study = Study(tmp_path, of)
    assert study.ask() is not None
    study.report(0, {"epoch": 1, "objective_now": 1.0, "seconds": 1.0})
    study.close()
    with pytest.raises(InputError, match=r"of trial 0, the configuration \(.*config.yaml is missing"):
        Study(tmp_path, other)
    Study(tmp_path, of).close()  # the refusal let the lock go


def test_a_value_between_whose_steps_optuna_adds_noise_is_the_one_that_was_trained(tmp_path: Path) -> None:
    """Its journal says 0.30000000000000004, the trial trained with 0.3: it can be opened again and exported."""
    search = {"optim.momentum": {"low": 0.1, "high": 0.9, "step": 0.1}}
    of = Experiment.model_validate({**TINY, "search": search, "study": {"trials": 12, "sampler": "random"}})
    study = create_study(tmp_path, of, RunHeader("tiny", objectives=tuple(of.study.objectives)))
    noisy = None
    while (task := study.ask()) is not None:
        trial = study.trials()[task.number]
        assert study.config_of(trial) == task.config and study.values_of(trial) == task.values
        if noisy is None and trial.params != task.values:
            noisy = task
            history = train(task.config, task.folder, task.objective)
            study.complete(task.number, [{**record, task.objective: 99.0} for record in history], 1.0, "a")
        else:
            study.complete(task.number, [{"epoch": 1, "objective_now": 1.0, task.objective: 1.0}], 1.0, "a")
    study.close()
    assert noisy is not None
    again = Study(tmp_path, of)
    best = again.best()
    assert best is not None and best.number == noisy.number
    export_winner(again, best, tmp_path)
    again.close()
    exported = yaml.safe_load((tmp_path / "best" / "config.yaml").read_text())
    assert exported["optim"]["momentum"] == noisy.values["optim.momentum"]


def test_another_objective_is_refused(tmp_path: Path) -> None:
    of = Experiment.model_validate(TINY)
    create_study(tmp_path, of, RunHeader("tiny", objectives=tuple(of.study.objectives))).close()
    other = Experiment.model_validate({**TINY, "study": {"trials": 3, "objective": "train_fullsup/top1/loc"}})
    with pytest.raises(InputError, match=r"study.objective: train_fullsup/top1/loc and train_fullsup/max_box_acc_v2"):
        Study(tmp_path, other)
