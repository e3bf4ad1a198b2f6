"""In a campaign the last epoch counts, unless the best one is wanted."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from tests.support.tiny import TINY
from wsol import training
from wsol.checkpoint import Checkpoints


def test_the_last_epoch_can_be_what_counts(tmp_path: Path) -> None:
    of = Experiment.model_validate({**copy.deepcopy(TINY), "study": {"trials": 2}})
    of = of.model_copy(update={"trial": of.configure({"training.checkpoint": "last"})})
    study = create_study(tmp_path, of, RunHeader("last"))
    for values in ([9.0, 5.0], [9.0, float("nan")]):
        task, history = (
            study.ask(),
            [{"epoch": e, "objective_now": v, "train_fullsup/max_box_acc_v2": v} for e, v in enumerate(values, 1)],
        )
        assert task is not None
        study.complete(task.number, history, 1.0, "here")
    first, second = study.trials()
    assert (first.values, first.user_attrs["best_epoch"]) == ([5.0], 2)
    assert "not a finite number in the last of 2 epochs" in second.user_attrs["failure"]


@pytest.mark.parametrize(("checkpoint", "epoch", "value"), [("best", 2, 60.0), ("last", 3, 55.0)])
def test_training_keeps_the_epoch_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str, epoch: int, value: float
) -> None:
    reached = iter([50.0, 60.0, 55.0])
    monkeypatch.setattr(training, "evaluate", lambda *arguments: {"max_box_acc_v2": next(reached)})
    of = Experiment.model_validate(copy.deepcopy(TINY))
    config = of.configure(
        {"training.epochs": 3, "training.checkpoint": checkpoint, "data.root": str(tmp_path / "data")}
    )
    history = training.train(config, tmp_path / "trial", "train_fullsup/max_box_acc_v2")
    kept = Checkpoints(tmp_path / "trial")
    assert kept.best == kept.latest and kept.best is not None
    assert (kept.best.epoch, kept.best.objective, history[-1]["objective"]) == (epoch, value, value)
    assert len(list((tmp_path / "trial").glob("epoch-*.pt"))) == 1
