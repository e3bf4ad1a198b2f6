"""The study without Ray and without training: a made-up curve for every configuration stands for a trial."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment.grace import grace_epochs
from orchestrator.report.importance import importance
from orchestrator.runs.summary import read_summary
from orchestrator.study.begin import preview
from orchestrator.study.samplers import PACKAGES, SAMPLERS, require_sampler_packages
from orchestrator.study.study import Study
from tests.support.played_studies import plain_optuna, run, states
from tests.support.studies import EPOCHS, SEARCH, create, experiment, rising
from wsol.config import TrainConfig
from wsol.errors import InputError


def needs(sampler: str) -> Any:
    missing = [package for package in PACKAGES.get(sampler, ()) if importlib.util.find_spec(package) is None]
    return pytest.param(sampler, marks=pytest.mark.skipif(bool(missing), reason=f"{missing} not installed"))


def test_a_plain_optuna_reads_what_became_of_every_trial(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 4}))
    run(study, limit=1)
    failed = study.ask()
    assert failed is not None
    study.report(failed.number, {"epoch": 1, "objective_now": 3.0})
    study.fail(failed.number, "its process died", 1.0, "here")
    run(study, lambda config: [math.nan] * EPOCHS, limit=1)
    run(study, lambda config: [math.nan, 7.0, math.inf], limit=1)
    study.close()
    trials = plain_optuna(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    best = max(rising(study.config_of(trials[0])))
    assert trials[0].value == best and trials[0].user_attrs["best_epoch"] == EPOCHS - 1
    assert trials[0].intermediate_values == dict(enumerate(rising(study.config_of(trials[0])), start=1))
    assert trials[1].user_attrs["failure"] == "its process died" and trials[1].intermediate_values == {1: 3.0}
    assert "not a finite number in any of 9 epochs" in trials[2].user_attrs["failure"]
    assert trials[3].value == 7.0 and trials[3].intermediate_values == {2: 7.0}
    assert trials[0].params["optim.lr"] == 0.01 and trials[0].user_attrs["origin"] == "published point"


@pytest.mark.parametrize("sampler", [needs(name) for name in SAMPLERS])
@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_an_interrupted_study_goes_on_like_a_whole_one(tmp_path: Path, sampler: str, scheduler: str) -> None:
    search = dict(SEARCH)
    if sampler == "grid":
        search["optim.lr"] = {"choices": [0.001, 0.01, 0.1]}
        search["optim.head_lr_scale"] = {"low": 1.0, "high": 10.0, "step": 3.0}
        search["optim.momentum"] = {"choices": [0.0, 0.5, 0.9]}
    of = experiment(search=search, study={"trials": 14, "sampler": sampler, "scheduler": scheduler})
    run(create(tmp_path / "whole", of))
    study = create(tmp_path / "cut", of)
    for trials in (1, 4, 7, 1):
        run(study, limit=trials, epochs=2)
        study.close()
        assert states(tmp_path / "cut")[-1] in ("RUNNING", "PRUNED")
        study = Study(tmp_path / "cut", of)
    run(study)
    whole, cut = plain_optuna(tmp_path / "whole").trials, plain_optuna(tmp_path / "cut").trials
    assert [(trial.params, trial.values, trial.state) for trial in cut] == [
        (trial.params, trial.values, trial.state) for trial in whole
    ]
    assert len(whole) == 14 and len({json.dumps(trial.params) for trial in whole}) == 14
    assert ("PRUNED" in states(tmp_path / "whole")) == (scheduler == "asha")
    header = json.loads((tmp_path / "cut" / "study.json").read_text())
    assert header["sampler_arguments"] == SAMPLERS[sampler]


@pytest.mark.parametrize("sampler", [needs(name) for name in ("tpe", "gp", "cma_es")])
def test_samplers_learn(tmp_path: Path, sampler: str) -> None:
    trials = 70 if sampler == "cma_es" else 30
    study = create(tmp_path, experiment(study={"trials": trials, "sampler": sampler, "seed": 3}))
    run(study)
    values = [trial.values[0] for trial in study.trials()]
    assert sum(values[-10:]) / 10 > sum(values[1:11]) / 10 + 2


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=re.escape("cma_es needs cmaes; install it with: pip install 'wsol-search[samplers]'")
    ):
        require_sampler_packages("cma_es")
    require_sampler_packages("tpe")


def test_named_points_come_first_and_may_change_what_is_not_searched(tmp_path: Path) -> None:
    points = [
        {"name": "the same", "values": {"optim.lr": 0.01}},
        {"name": "VGG script", "source": "scripts/vgg.sh", "values": {"optim.lr": 0.05, "optim.weight_decay": 5e-4}},
        {"name": "other normalizer", "values": {"evaluation.normalizer.name": "ivr"}},
    ]
    of = experiment(points=points, study={"trials": 4})
    study = create(tmp_path, of)
    tasks = [study.ask() for _ in range(4)]
    assert [task.origin for task in tasks if task] == ["published point", "VGG script", "other normalizer", "tpe"]
    second, third, drawn = (task.config for task in tasks[1:] if task)
    assert (second.optim.lr, second.optim.weight_decay, second.optim.momentum) == (0.05, 5e-4, 0.9)
    assert third.evaluation.normalizer.model_dump() == {"name": "ivr", "lower_percentile": 0.45, "form": "paper"}
    assert drawn.optim.weight_decay == 1e-4
    assert study.trials()[1].user_attrs["source"] == "scripts/vgg.sh"
    study.close()
    again = Study(tmp_path, of)
    assert [again.ask() for _ in range(4)] == tasks  # adopted, with the values that are not searched


def test_a_configuration_is_trained_once(tmp_path: Path) -> None:
    of = experiment(search={"optim.momentum": {"choices": [0.9, 0.5]}}, study={"trials": 6, "sampler": "random"})
    study = create(tmp_path, of)
    assert len(run(study)) == 2
    repeats = [trial.user_attrs.get("repeats") for trial in study.trials()]
    assert len(repeats) == 6 and repeats.count(None) == 2 and study.unfinished() == 0
    by_momentum = {trial.params["optim.momentum"]: trial.values for trial in study.trials()}
    assert all(trial.values == by_momentum[trial.params["optim.momentum"]] for trial in study.trials())


def test_who_repeats_a_running_trial_waits_for_its_end(tmp_path: Path) -> None:
    of = experiment(search={"optim.momentum": {"choices": [0.9]}}, study={"trials": 3, "sampler": "random"})
    study = create(tmp_path, of)
    first = study.ask()
    assert first is not None and study.ask() is None
    assert states(tmp_path) == ["RUNNING"] * 3
    study.close()
    study = Study(tmp_path, of)
    assert study.unfinished() == 3
    task = study.ask()
    assert task == first and study.ask() is None
    study.fail(0, "no", 1.0, "here")
    assert states(tmp_path) == ["FAIL"] * 3 and study.unfinished() == 0


def test_a_stopped_trial_is_pruned_with_its_last_value_and_never_wins(tmp_path: Path) -> None:
    study = create(
        tmp_path, experiment(study={"trials": 12, "sampler": "random", "scheduler": "asha", "grace_epochs": 2})
    )
    calls = iter(range(100))

    def worse_and_worse(config: TrainConfig) -> list[float]:
        """The first is best at the end, the others lose at the first look, after a better start than anyone's."""
        height = 50 - next(calls)
        return [99.0, *[float(height)] * (EPOCHS - 1)] if height < 50 else [50.0 + epoch for epoch in range(EPOCHS)]

    assert run(study, worse_and_worse) == [EPOCHS] + [2] * 11
    trials = plain_optuna(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] + ["PRUNED"] * 11
    assert [trial.value for trial in trials[1:]] == [50.0 - number for number in range(1, 12)]
    best = study.best()
    assert best is not None and best.number == 0


def test_a_trial_that_ends_is_not_stopped_however_many_epochs_it_has(tmp_path: Path) -> None:
    """Epochs may be searched: the last one of each trial is its own."""
    search = {**SEARCH, "training.epochs": {"choices": [2, EPOCHS]}}
    asha = {"trials": 16, "sampler": "random", "scheduler": "asha", "grace_epochs": 2}
    study = create(tmp_path, experiment(search=search, study=asha))
    run(study, lambda config: [50.0 - config.optim.momentum * epoch for epoch in range(config.training.epochs)])
    short = [trial for trial in study.trials() if trial.params["training.epochs"] == 2]
    assert len(short) > 3 and {trial.state.name for trial in short} == {"COMPLETE"}
    assert "PRUNED" in {trial.state.name for trial in study.trials()}


@pytest.mark.parametrize(("scheduler", "least"), [("asha", 4), ("median", 2), ("hyperband", 2)])
def test_every_scheduler_stops_some_but_nobody_early(tmp_path: Path, scheduler: str, least: int) -> None:
    of = experiment(study={"trials": 20, "sampler": "random", "scheduler": scheduler, "grace_epochs": 3})
    study = create(tmp_path, of)
    run(study)
    ended = [max(trial.intermediate_values) for trial in study.trials() if trial.state.name == "PRUNED"]
    assert least <= len(ended) < 20 and min(ended) >= 3 and max(ended) < EPOCHS
    arguments = json.loads((tmp_path / "study.json").read_text())["scheduler_arguments"]
    assert arguments["n_warmup_steps" if scheduler == "median" else "min_resource"] == 3


@pytest.mark.parametrize(
    ("trial", "search", "grace"),
    [
        ({}, {}, 1),
        ({"optim": {"lr_decay_every": 4}}, {}, 4),
        ({"optim": {"lr_decay_every": 10}}, {}, 1),  # never in nine epochs
        ({"optim": {"lr_decay_every": 4, "lr_decay_epochs": [6, 8]}}, {}, 6),
        ({"method": {"name": "crop_cam", "start_epoch": 5}}, {}, 5),
        ({"method": {"name": "crop_cam", "start_epoch": 2}}, {"method.start_epoch": {"low": 1, "high": 6}}, 6),
        ({"method": {"name": "bridging_gap", "warmup_fraction": 0.5}}, {}, 5),
    ],
)
def test_grace_period(trial: dict[str, Any], search: dict[str, Any], grace: int) -> None:
    of = experiment(trial={"optim": {"lr": 0.01}, **trial}, search=search)
    assert grace_epochs(of) == grace
    asked = of.model_copy(update={"study": of.study.model_copy(update={"grace_epochs": 8})})
    assert grace_epochs(asked) == 8
    at_once = of.model_copy(update={"study": of.study.model_copy(update={"grace_epochs": 1})})
    assert grace_epochs(at_once) == (1 if "optim" in trial else grace)  # a decay alone makes nobody wait who says so


def test_several_objectives(tmp_path: Path) -> None:
    objectives = ["train_fullsup/max_box_acc_v2", "train_fullsup/top1/top1_cls"]
    study = create(tmp_path, experiment(study={"trials": 12, "objective": objectives}))
    run(study)
    trials = plain_optuna(tmp_path).trials
    assert all(
        len(trial.values) == 2 and sum(trial.values) == pytest.approx(100) and len(trial.intermediate_values) == EPOCHS
        for trial in trials
    )
    assert study.pareto_front() == list(range(12))  # what one wins, the other loses
    best = study.best()
    assert best is not None and best.values[0] == max(trial.values[0] for trial in trials)
    summary = read_summary(tmp_path)
    assert summary.best is not None and summary.best.number == best.number and summary.notes == ()
    assert set(importance(summary.study)) == set(SEARCH)


def test_a_grid_is_tried_once_each(tmp_path: Path) -> None:
    search = {"optim.lr": {"choices": [0.01, 0.1]}, "optim.momentum": {"low": 0.1, "high": 0.9, "step": 0.4}}
    of = experiment(search=search, study={"trials": 30, "sampler": "grid"})
    study = create(tmp_path, of)
    assert study.unfinished() == 6
    assert len(run(study)) == 6 and study.unfinished() == 0
    tried = {(trial.params["optim.lr"], trial.params["optim.momentum"]) for trial in study.trials()}
    assert tried == {(lr, momentum) for lr in (0.01, 0.1) for momentum in (0.1, 0.5, 0.9)}


def test_a_preview_is_what_a_study_asks_for(tmp_path: Path) -> None:
    of = experiment(study={"trials": 5})
    study = create(tmp_path, of)
    assert [task.values for task in preview(of, 3)] == [task.values for _ in range(3) if (task := study.ask())]
