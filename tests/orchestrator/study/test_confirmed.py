"""Which trial wins by what it reached with other seeds, and how sure that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.experiment.model import Experiment
from orchestrator.runs.result import ConfirmedTrial, mean_optimism
from orchestrator.study.begin import open_or_begin
from orchestrator.study.confirmed import (
    confirmed_trials,
    confirming_reruns,
    is_confirmed,
    probabilities_of_best,
    winner_of,
)
from orchestrator.study.study import Study
from tests.support.studies import create, experiment
from tests.support.tiny import OBJECTIVE


def end(study: Study, *values: float) -> None:
    for value in values:
        task = study.ask()
        assert task is not None
        study.complete(task.number, [{"epoch": 1.0, "objective_now": value, OBJECTIVE: value}], 1.0, "here")


def test_the_value_that_selected_a_trial_does_not_count(tmp_path: Path) -> None:
    """Trial 0 was lucky: with its own value its mean would be the highest."""
    confirm = {"top": 2, "seeds": [1, 2]}
    study = create(tmp_path / "run", experiment(study={"trials": 3, "sampler": "random", "confirm": confirm}))
    end(study, 90.0, 70.0, 60.0)
    assert confirmed_trials(study) == () and not is_confirmed(study)
    assert (first := winner_of(study, ())) is not None and first.number == 0
    for rerun, value in zip(confirming_reruns(study), (60.0, 64.0, 66.0, 68.0), strict=True):
        assert rerun.loaded.experiment.trial.seed == rerun.seed and not is_confirmed(study)
        again = open_or_begin(rerun.folder, rerun.loaded, "train")
        end(again, value)
        again.close()
    assert is_confirmed(study)
    confirmed = confirmed_trials(study)
    assert [(one.trial, one.value, one.seeds) for one in confirmed] == [
        (0, 90.0, {1: 60.0, 2: 64.0}),
        (1, 70.0, {1: 66.0, 2: 68.0}),
    ]
    assert (winner := winner_of(study, confirmed)) is not None and winner.number == 1
    assert [one.optimism for one in confirmed] == [28.0, 3.0] and mean_optimism(confirmed) == 15.5
    assert sum(one.first or 0.0 for one in confirmed) == pytest.approx(1)


def test_no_bound_of_the_search_ends_a_training_with_another_seed(tmp_path: Path) -> None:
    of = experiment(study={"trials": 1, "hours": 0.001, "stop": {"patience": 1}, "confirm": {}})
    study = create(tmp_path / "run", of)
    end(study, 50.0)
    alone = confirming_reruns(study)[0].loaded.experiment.study
    assert (alone.trials, alone.hours, alone.stop, alone.confirm) == (1, None, None, None)


def test_points_that_are_given_are_all_trained(tmp_path: Path) -> None:
    """What `replay` and `train` run: no rule of the search that found the points ends it, and its file can be read."""
    rules = {"stop": {"patience": 1}, "hours": 1, "scheduler": "race", "risk": 0.1, "confirm": {}}
    of = experiment(study={"trials": 9, "sampler": "grid", **rules}, search={"optim.momentum": {"choices": [0.1, 0.9]}})
    given = of.model_copy(update={"study": of.study.of_given_points(4)})
    assert (given.study.trials, given.study.sampler, given.study.scheduler) == (4, "random", "none")
    assert Experiment.model_validate(given.model_dump()) == given
    study = create(tmp_path / "run", experiment(study=given.study.model_dump()))
    end(study, 4.0, 3.0, 2.0, 1.0)
    assert study.unfinished() == 0 and study.enough() is None and len(study.trials()) == 4


def test_the_probability_to_be_the_best_is_that_of_a_t_distribution() -> None:
    """Two trials with n seeds each: the difference of the means over its standard error is Student's t with 2n - 2
    degrees of freedom, whose table has 0.95 at 2.132 for four."""
    values = {3: [-1.0, 0.0, 1.0], 7: [0.0, 1.0, 2.0]}
    shift = 2.132 * (2 / 3) ** 0.5 - 1
    found = probabilities_of_best({3: values[3], 7: [value + shift for value in values[7]]})
    assert found[7] == pytest.approx(0.95, abs=0.01) and sum(found.values()) == pytest.approx(1)


def test_trials_without_noise_are_ordered_and_equal_ones_share() -> None:
    assert probabilities_of_best({1: [5.0, 5.0], 2: [6.0, 6.0]}) == {1: 0.0, 2: 1.0}
    assert probabilities_of_best({1: [5.0, 5.0], 2: [5.0, 5.0]}) == {1: 0.5, 2: 0.5}


def test_one_seed_says_nothing_about_noise() -> None:
    assert probabilities_of_best({1: [5.0], 2: [6.0]}) == {} == probabilities_of_best({1: [5.0, 6.0], 2: []})


def test_a_trial_whose_seeds_failed_has_no_mean() -> None:
    lost = ConfirmedTrial(4, 50.0, {})
    assert lost.mean != lost.mean and mean_optimism([lost, ConfirmedTrial(5, 50.0, {1: 49.0})]) == 1.0
