"""An experiment that was edited by hand is not taken for what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from tests.support.tiny import TINY, Launch
from wsol.errors import InputError


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


def test_another_objective_is_refused(tmp_path: Path) -> None:
    of = Experiment.model_validate(TINY)
    create_study(tmp_path, of, RunHeader("tiny", objectives=tuple(of.study.objectives))).close()
    other = Experiment.model_validate({**TINY, "study": {"trials": 3, "objective": "train_fullsup/top1/loc"}})
    with pytest.raises(InputError, match=r"study.objective: train_fullsup/top1/loc and train_fullsup/max_box_acc_v2"):
        Study(tmp_path, other)
