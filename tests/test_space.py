"""Distributions, conditions and points, against Optuna itself."""

from __future__ import annotations

import optuna
import pytest
from pydantic import ValidationError

from orchestrator.space import Distribution, Parameter, Space, get, replaced

BASE = {"method": {"name": "has", "cell_size": 16}, "optim": {"lr": 0.01}, "metrics": [{"name": "a"}, {"name": "b"}]}


def draw(parameter: Parameter, count: int = 200) -> list[object]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [parameter.suggest(study.ask()) for _ in range(count)]


def test_ranges_are_kept_and_both_ends_reached() -> None:
    integers = draw(Parameter("x", Distribution(low=2, high=5), integer=True))
    assert set(integers) == {2, 3, 4, 5}
    assert all(type(value) is int for value in integers)
    steps = draw(Parameter("x", Distribution(low=0.1, high=0.7, step=0.2), integer=False))
    assert set(steps) == {0.1, 0.3, 0.5, 0.7}  # no 0.30000000000000004
    logs = draw(Parameter("x", Distribution(low=1e-4, high=1.0, log=True), integer=False))
    assert min(logs) >= 1e-4 and max(logs) <= 1.0
    assert 70 < sum(value < 0.01 for value in logs) < 130
    assert set(draw(Parameter("x", Distribution(choices=[8, "a", None]), integer=False))) == {8, "a", None}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"low": 1},
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 1, "high": 2, "log": True, "step": 0.1},
        {"choices": []},
        {"choices": [1], "low": 0},
        {"low": 0, "high": 1, "step": 0},
        {"low": "a", "high": 1},
        {"low": 0, "high": 1, "loww": 3},
    ],
)
def test_impossible_distributions_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Distribution.model_validate(wrong)


def test_conditions_look_at_drawn_values_first() -> None:
    space = Space(
        (
            Parameter("method.name", Distribution(choices=["has", "cam"]), integer=False),
            Parameter("method.cell_size", Distribution(low=1, high=9, when={"method.name": "has"}), integer=True),
        )
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask(), BASE) for _ in range(40)]
    assert {values["method.name"] for values in drawn} == {"has", "cam"}
    assert all(("method.cell_size" in values) == (values["method.name"] == "has") for values in drawn)


def test_paths() -> None:
    assert get(BASE, "metrics.1.name") == "b"
    changed = replaced(BASE, "metrics.1.name", "c")
    assert get(changed, "metrics.1.name") == "c"
    assert get(BASE, "metrics.1.name") == "b"
    for path in ("optim.lrr", "metrics.2.name", "optim.lr.x"):
        with pytest.raises(KeyError):
            get(BASE, path)
