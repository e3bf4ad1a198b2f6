"""What a campaign will take: arithmetic on the cost of one trial."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.campaign import forecast
from orchestrator.campaign.forecast import Cost, Need, forecast_end, measure_cost, need_of_trials
from orchestrator.cluster.plan import Plan
from orchestrator.formats import duration
from tests.support.studies import experiment

NEEDS = {"a": Need(3, 6, 7200.0, 10), "b": Need(1, 2, 3600.0, 5)}


@pytest.mark.parametrize(
    ("workers", "concurrent", "hours"), [(1, 1, 3.0), (1, 4, 0.75), (2, 1, 1.5), (2, 3, 0.5)], ids=str
)
def test_the_work_is_shared_out_over_workers_and_trials(workers: int, concurrent: int, hours: float) -> None:
    line, _ = forecast_end(NEEDS, Plan(workers, 1, 0.0, concurrent, {}))
    assert line.startswith(f"{concurrent} at a time, {duration(hours * 3600)} at least: ")


def test_trials_take_their_epochs_and_as_many_checkpoints_as_are_kept() -> None:
    of = experiment(study={"trials": 9, "keep_checkpoints": 2})
    assert need_of_trials(of, Cost(10.0, 100), 5) == Need(5, 5 * of.trial.training.epochs, 50.0, 200)
    assert need_of_trials(of, Cost(10.0, 100), 1) == Need(1, of.trial.training.epochs, 10.0, 100)


def test_the_cost_of_a_trial_is_that_of_all_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(seconds_per_trial=30.0, workers=4, checkpoint_bytes=7)
    monkeypatch.setattr(forecast, "forecast_search", lambda of: made)
    assert measure_cost(experiment()) == Cost(120.0, 7)
