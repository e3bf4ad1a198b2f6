"""Which trials come first, which keep their checkpoints, and which are compared with the winner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.study.checkpoints import drop_checkpoints, find_rivals, kept_trials
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from tests.support.studies import create, experiment
from wsol.checkpoint import Checkpoints

OBJECTIVE = "train_fullsup/max_box_acc_v2"


def record(value: float, **others: float) -> dict[str, float]:
    return {"epoch": 1.0, "objective_now": value, "objective": value, OBJECTIVE: value, **others}


def begin(study: Study) -> Task:
    """A trial that has trained an epoch and goes on."""
    task = study.ask()
    assert task is not None
    Checkpoints(task.folder, task.config).save({"method": {"w": torch.zeros(1)}}, record(1.0), best=True)
    return task


def end(study: Study, *values: float, **others: float) -> None:
    for value in values:
        study.complete(begin(study).number, [record(value, **others)], 1.0, "here")


def with_checkpoints(folder: Path) -> list[int]:
    return [int(path.name) for path in sorted((folder / "trials").iterdir()) if Checkpoints(path).best]


def test_repeats_are_not_ranked(tmp_path: Path) -> None:
    of = experiment(search={"optim.momentum": {"choices": [0.9, 0.5]}}, study={"trials": 6, "sampler": "random"})
    study = create(tmp_path, of)
    end(study, 50.0, 60.0)
    assert study.ask() is None and len(study.trials()) == 6
    assert [trial.number for trial in study.ranked()] == sorted(
        (trial.number for trial in study.trials() if "repeats" not in trial.user_attrs), reverse=True
    )
    assert [rival.number for rival in find_rivals(study, tmp_path, study.ranked()[0])] == [0]
    assert len(kept_trials(study)) == 2
    firsts = {trial.user_attrs["repeats"] for trial in study.trials() if "repeats" in trial.user_attrs}
    assert firsts <= {trial.number for trial in study.ranked()}  # nobody repeats a repetition
    metrics = [trial.user_attrs["metrics"][OBJECTIVE] for trial in study.trials()]
    assert metrics == [trial.values[0] for trial in study.trials()]


def test_a_failed_configuration_may_be_drawn_again(tmp_path: Path) -> None:
    of = experiment(search={"optim.momentum": {"choices": [0.9]}}, study={"trials": 3, "sampler": "random"})
    study = create(tmp_path, of)
    study.fail(begin(study).number, "its node was lost", 1.0, "here")
    end(study, 50.0)
    assert [trial.user_attrs.get("repeats") for trial in study.trials()][:2] == [None, None]


def test_every_seed_draws_other_points_and_each_trial_its_own(tmp_path: Path) -> None:
    drawn = {}
    for seed in (0, 1):
        study = create(tmp_path / str(seed), experiment(study={"trials": 4, "sampler": "random", "seed": seed}))
        end(study, 50.0, 51.0, 52.0, 53.0)
        drawn[seed] = [trial.params["optim.lr"] for trial in study.trials()]
    assert drawn[0][0] == drawn[1][0] == 0.01  # the published point
    assert len({*drawn[0], *drawn[1]}) == 7


def test_the_highest_comes_first_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 6, "sampler": "random"}))
    end(study, 50.0, 70.0, 60.0, 70.0)
    study.fail(begin(study).number, "no", 1.0, "here")
    stopped = begin(study)
    study.report(stopped.number, record(90.0))
    study.prune(stopped.number, 1.0, "here")
    assert [trial.number for trial in study.ranked()] == [1, 3, 2, 0]


def test_checkpoints_of_the_best_of_those_to_be_tried_again_and_of_running_trials_are_kept(tmp_path: Path) -> None:
    of = experiment(study={"trials": 7, "sampler": "random", "keep_checkpoints": 2})
    study = create(tmp_path, of)
    end(study, 50.0, 70.0, 60.0, 40.0)
    study.fail(begin(study).number, "no", 1.0, "here")
    begin(study)
    drop_checkpoints(study, tmp_path)
    assert with_checkpoints(tmp_path) == [1, 2, 4, 5]


def test_checkpoints_of_a_front_are_kept(tmp_path: Path) -> None:
    objectives: Any = [OBJECTIVE, "train_fullsup/top1/cls"]
    study = create(tmp_path, experiment(study={"trials": 4, "objective": objectives, "keep_checkpoints": 1}))
    end(study, 70.0, **{objectives[1]: 10.0})
    end(study, 60.0, **{objectives[1]: 20.0})
    end(study, 50.0, **{objectives[1]: 15.0})
    assert kept_trials(study) == {0, 1} and study.pareto_front() == [0, 1]


def test_rivals_are_the_next_ones_that_can_be_scored_on_the_same_images(tmp_path: Path) -> None:
    size = {"data.image_size": {"choices": [32, 36]}, "data.resize_size": {"choices": [36]}}
    points = [
        {"name": str(number), "values": {"data.image_size": side, "optim.weight_decay": number / 100}}
        for number, side in enumerate((32, 36, 32, 32, 32, 32), start=1)
    ]
    study = create(tmp_path, experiment(search=size, points=points, study={"trials": 7, "keep_checkpoints": 9}))
    end(study, 70.0, 60.0, 69.0, 61.0, 62.0, 63.0, 64.0)
    Checkpoints(tmp_path / "trials" / "0006").drop_all()
    assert [rival.number for rival in find_rivals(study, tmp_path, study.ranked()[0])] == [5, 4, 3]


@pytest.mark.parametrize(("restarts", "is_back"), [(2, [True, True, False]), (0, [False])])
def test_a_trial_is_put_back_as_often_as_the_study_says_and_counts_once(
    tmp_path: Path, restarts: int, is_back: list[bool]
) -> None:
    study = create(tmp_path, experiment(study={"trials": 3, "sampler": "random", "max_failures": restarts}))
    first = begin(study)
    for expected in is_back:
        assert study.unfinished() == 2
        assert study.put_back(first.number) is expected
        if expected:
            assert study.unfinished() == 3 and study.planned == 3
            again = study.ask()
            assert again is not None and (again.number, again.config) == (first.number, first.config)
    study.fail(first.number, "no", 1.0, "here")
    assert study.unfinished() == 2
    assert study.retry() == [0] and study.unfinished() == 3 and study.planned == 4
    end(study, 50.0, 51.0, 52.0)
    assert study.ask() is None and len(study.trials()) == 4
