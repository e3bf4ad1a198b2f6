"""The best trials of a search, trained again with several seeds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.campaign.model import Reruns
from orchestrator.campaign.running import RunningCell
from orchestrator.study.reruns import planned_reruns, reached_values, winning_trial
from tests.support.studies import create, experiment

OBJECTIVE = "train_fullsup/max_box_acc_v2"


def test_the_winner_has_the_highest_mean_and_all_seeds() -> None:
    class Trained:
        def __init__(self, seed: int, trial: int, value: float | None) -> None:
            self.seed, self.trial, self.value = seed, trial, value

        def best(self) -> Any:
            return None if self.value is None else type("Best", (), {"values": [self.value]})

    def chosen(*values: tuple[int, float | None]) -> int | None:
        pairs: Any = [(one, one) for one in (Trained(seed, *value) for seed, value in enumerate(values))]
        return winning_trial(reached_values(pairs))

    assert chosen((3, 60.0), (3, 50.0), (7, 54.0), (7, 57.0)) == 7
    assert chosen((3, 60.0), (3, None), (7, 54.0), (7, 50.0)) == 7
    assert chosen((3, None), (3, None)) is None and chosen() is None
    assert chosen((3, 50.0), (7, 54.0), (3, 70.0), (7, 65.0)) == 3  # the mean, not the lowest
    assert chosen((3, 70.0), (7, 61.0), (3, 50.0), (7, 60.0)) == 7  # nor the highest


def test_the_best_trials_are_trained_again_with_each_seed(tmp_path: Path) -> None:
    study = create(tmp_path / "cam", experiment(study={"trials": 4, "sampler": "random"}))
    for value in (50.0, 70.0, 60.0, 65.0):
        task = study.ask()
        assert task is not None
        record = {"epoch": 1.0, "objective_now": value, OBJECTIVE: value}
        study.complete(task.number, [record], 1.0, "here")
    reruns = planned_reruns(study, Reruns(top=2, seeds=[5, 7, 9]), {"optim.weight_decay": 0.5, "seed": 3})
    expected = [(trial, seed) for trial in (1, 3) for seed in (5, 7, 9)]
    assert [(rerun.trial, rerun.seed) for rerun in reruns] == expected
    assert [rerun.name for rerun in reruns] == [f"cam-t{trial}-s{seed}" for trial, seed in expected]
    assert [rerun.folder for rerun in reruns] == [tmp_path / "cam" / "seeds" / rerun.name for rerun in reruns]
    found = study.trials()
    for (trial, seed), rerun in zip(expected, reruns, strict=True):
        alone = rerun.loaded.experiment
        assert alone.trial == study.config_of(found[trial]).model_copy(
            update={
                "seed": seed,
                "optim": study.config_of(found[trial]).optim.model_copy(update={"weight_decay": 0.5}),
            }
        )
        assert (alone.search, alone.points, alone.study.trials) == ({}, [], 1)
    assert len({rerun.loaded.experiment.trial.seed for rerun in reruns}) == 3


def test_the_runs_of_the_winner_with_every_seed_count() -> None:
    def again(trial: int, value: float) -> Any:
        best = SimpleNamespace(values=[value])
        rerun = SimpleNamespace(trial=trial, seed=value)
        return rerun, SimpleNamespace(best=lambda: best, folder=Path(f"t{trial}-{value}"))

    cell: Any = None
    search: Any = SimpleNamespace(folder=Path("search"))
    pairs = [again(3, 60.0), again(3, 61.0), again(7, 50.0), again(7, 75.0)]
    assert RunningCell(cell, search, pairs).counting() == [Path("t7-50.0"), Path("t7-75.0")]
    assert RunningCell(cell, search).counting() == [Path("search")]


def test_seeds_differ_and_are_counted_for_each_trial() -> None:
    assert Reruns(top=3, seeds=[1, 2]).count == 6
    for wrong in ([1, 1], [], [-1]):
        with pytest.raises(ValidationError):
            Reruns(seeds=wrong)
