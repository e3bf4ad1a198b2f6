"""A study that has found enough starts no further trial, and says why; whoever opens it again finds the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import optuna
import pytest
from pydantic import ValidationError

from orchestrator.experiment.study_config import StopConfig
from orchestrator.study.enough import Limits, little_to_gain, out_of_patience
from orchestrator.study.study import Study
from tests.support.played_studies import run, states
from tests.support.studies import create, experiment
from wsol.config import TrainConfig


def reaching(values: list[float]) -> Callable[[TrainConfig], list[float]]:
    """Trials that reach these values in their first epoch, one after the other."""
    left: Iterator[float] = iter(values)
    return lambda config: [next(left)]


def test_patience_ends_after_trials_that_found_nothing_better(tmp_path: Path) -> None:
    of = experiment(study={"trials": 20, "stop": {"patience": 3}})
    study = create(tmp_path, of)
    assert len(run(study, reaching([40.0, 41.0, 41.0, 12.0, 41.0, 99.0]))) == 5
    reason = "the last 3 trials found nothing better than trial 1 (study.stop.patience: 3)"
    assert study.enough() == reason and study.unfinished() == 0 and study.stopped() is None
    study.close()
    again = Study(tmp_path, of)
    assert again.enough() == reason and again.ask() is None
    again.close()
    longer = Study(tmp_path, experiment(study={"trials": 20}))
    assert longer.enough() is None and longer.unfinished() == 15


def test_better_trials_begin_the_count_again_and_failed_ones_are_none(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 7, "stop": {"patience": 2}}))
    run(study, reaching([10.0, 9.0]), limit=2)
    task = study.ask()
    assert task is not None
    study.fail(task.number, "no memory", 1.0, "here")
    assert study.enough() is None
    run(study, reaching([11.0, 9.0]), limit=2)
    assert study.enough() is None
    run(study, reaching([8.0]), limit=1)
    assert study.enough() is not None and "than trial 3 " in str(study.enough())


def test_pruned_trials_found_nothing_better_and_repetitions_are_none() -> None:
    complete = partial(optuna.trial.create_trial, state=optuna.trial.TrialState.COMPLETE)
    pruned = optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED)
    stop = StopConfig(patience=1)
    assert out_of_patience(stop, [complete(value=5.0), pruned]) is not None
    assert out_of_patience(stop, [complete(value=5.0), complete(value=4.0, user_attrs={"repeats": 0})]) is None


def test_the_hours_are_hours() -> None:
    limits = Limits(experiment(study={"hours": 2.0}).study)
    assert limits.reached([], 7199.0) is None
    assert limits.reached([], 7200.0) == "the 2 hours of this study are spent (study.hours)"


def test_a_study_with_all_of_its_trials_has_no_reason(tmp_path: Path) -> None:
    study = create(tmp_path, experiment(study={"trials": 3, "stop": {"patience": 2}}))
    run(study, reaching([10.0, 9.0, 8.0]))
    assert states(tmp_path) == ["COMPLETE"] * 3 and study.enough() is None


def test_the_regret_is_told_from_twenty_trials_on() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: 60 - 5 * (trial.suggest_float("rate", 0.0, 1.0) - 0.4) ** 2, n_trials=25)
    trials = study.get_trials()
    assert little_to_gain(StopConfig(regret=50.0), trials[:19], 0) is None
    assert little_to_gain(StopConfig(regret=1e-12), trials, 0) is None
    reason = little_to_gain(StopConfig(regret=50.0), trials, 0)
    assert reason == little_to_gain(StopConfig(regret=50.0), trials, 0)
    assert reason is not None and reason.endswith("as far as can be told (study.stop.regret: 50)")
    assert little_to_gain(StopConfig(patience=3), trials, 0) is None


def test_the_regret_is_of_one_objective() -> None:
    two = ["train_fullsup/max_box_acc_v2", "train_fullsup/top1"]
    with pytest.raises(ValidationError, match="regret is of one objective; use patience"):
        experiment(study={"objective": two, "stop": {"regret": 1.0}})
    assert experiment(study={"objective": two, "stop": {"patience": 4}}).study.stop == StopConfig(patience=4)
