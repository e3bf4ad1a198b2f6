"""Distributions, conditions and points, against Optuna itself."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from orchestrator.experiment.paths import value_at_path, with_value_at
from orchestrator.experiment.space import Distribution, Parameter, Space
from orchestrator.study.samplers import PACKAGES, SAMPLERS, make_sampler
from wsol.errors import InputError

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
    asked = optuna.create_study()
    asked.enqueue_trial({"x": 0.333})  # a published value between two steps
    assert Parameter("x", Distribution(low=0.1, high=0.7, step=0.2), integer=False).suggest(asked.ask()) == 0.333
    logs = draw(Parameter("x", Distribution(low=1e-4, high=1.0, log=True), integer=False))
    assert min(logs) >= 1e-4 and max(logs) <= 1.0
    assert 70 < sum(value < 0.01 for value in logs) < 130
    whole = draw(Parameter("x", Distribution(low=1, high=1000, log=True), integer=True))
    assert {type(value) for value in whole} == {int} and min(whole) >= 1 and max(whole) <= 1000
    assert 70 < sum(value <= 31 for value in whole) < 130  # of numbers drawn evenly, six
    assert set(draw(Parameter("x", Distribution(low=4, high=19, step=5), integer=True))) == {4, 9, 14, 19}
    assert set(draw(Parameter("x", Distribution(low=1.5, high=4.5), integer=True))) == {2, 3, 4}
    with pytest.raises(InputError, match="a grid needs choices or a step"):
        Parameter("x", Distribution(low=1, high=9, log=True), integer=True).grid({})
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
        {"fixed": 1, "low": 0},
        {"fixed": 1, "choices": [1]},
        {"low": "a.b", "high": 1, "log": True, "step": 0.1},
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
    assert value_at_path(BASE, "metrics.1.name") == "b"
    changed = with_value_at(BASE, "metrics.1.name", "c")
    assert value_at_path(changed, "metrics.1.name") == "c"
    assert value_at_path(BASE, "metrics.1.name") == "b"
    for path in ("optim.lrr", "metrics.2.name", "optim.lr.x"):
        with pytest.raises(KeyError):
            value_at_path(BASE, path)


SPG = Space(
    (
        Parameter("method.low", Distribution(low=0.0, high=0.8), integer=False),
        Parameter("method.high", Distribution(low="method.low", high=1.0), integer=False),
        Parameter("method.between", Distribution(low="method.low", high="method.high"), integer=False),
        Parameter("method.stepped", Distribution(low=0.0, high="method.high", step=0.1), integer=False),
        Parameter("method.cells", Distribution(low=2, high=9), integer=True),
        Parameter("method.fewer", Distribution(low=1, high="method.cells"), integer=True),
        Parameter("method.rate", Distribution(low="method.floor", high=1.0, log=True), integer=False),
        Parameter("method.kind", Distribution(fixed="b"), integer=False),
    )
)
FLOOR = {"method": {"floor": 0.01}}


@pytest.mark.parametrize(
    ("sampler", "points"),
    [
        ("random", 1000),
        ("tpe", 200),
        ("qmc", 200),
        ("cma_es", 200),
        ("gp", 20),
        pytest.param("gp", 100, marks=pytest.mark.slow),
    ],
)
def test_bounds_that_are_other_values_hold_at_every_point(sampler: str, points: int) -> None:
    for package in PACKAGES.get(sampler, ()):
        pytest.importorskip(package)
    study = optuna.create_study(direction="maximize")
    for number in range(points):
        study.sampler = make_sampler(sampler, SAMPLERS[sampler], 0, number)
        trial = study.ask()
        drawn: dict[str, Any] = SPG.suggest(trial, FLOOR)
        assert 0 <= drawn["method.low"] <= drawn["method.between"] <= drawn["method.high"] <= 1
        assert 0 <= drawn["method.stepped"] <= drawn["method.high"]
        assert drawn["method.stepped"] * 10 == pytest.approx(round(drawn["method.stepped"] * 10), abs=1e-9)
        assert 1 <= drawn["method.fewer"] <= drawn["method.cells"] and type(drawn["method.fewer"]) is int
        assert 0.01 <= drawn["method.rate"] <= 1 and drawn["method.kind"] == "b"
        assert {name: value for name, value in trial.params.items() if name != "method.stepped"} == {
            name: value for name, value in drawn.items() if name != "method.stepped"
        }
        state = None if number < 12 else optuna.trial.TrialState.FAIL  # a long history would make the models slow
        study.tell(trial, None if state else drawn["method.low"] - drawn["method.high"], state=state)


def test_dependent_ranges_are_filled() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn: list[dict[str, Any]] = [SPG.suggest(study.ask(), FLOOR) for _ in range(500)]
    shares = [(values["method.high"] - values["method.low"]) / (1 - values["method.low"]) for values in drawn]
    assert [sum(low <= share < low + 0.25 for share in shares) // 100 for low in (0, 0.25, 0.5, 0.75)] == [1, 1, 1, 1]
    assert {values["method.fewer"] for values in drawn if values["method.cells"] == 3} == {1, 2, 3}


def test_a_grid_follows_conditions_and_bounds() -> None:
    space = Space(
        (
            Parameter("method.name", Distribution(choices=["has", "cam"]), integer=False),
            Parameter("method.cell_size", Distribution(low=1, high=3, when={"method.name": "has"}), integer=True),
            Parameter("method.rate", Distribution(low=0.1, high="optim.lr", step=0.2), integer=False),
        )
    )
    points = [tuple(point.values()) for point in space.grid({"optim": {"lr": 0.6}})]
    rates = (0.1, 0.3, 0.5)
    assert points == [("has", cells, rate) for cells in (1, 2, 3) for rate in rates] + [("cam", rate) for rate in rates]
    with pytest.raises(InputError, match=r"search\.x: a grid needs choices or a step"):
        Space((Parameter("x", Distribution(low=0, high=1), integer=False),)).grid({})
    with pytest.raises(InputError, match="a grid of more than 100,000 points"):
        Space(tuple(Parameter(name, Distribution(low=1, high=99), integer=True) for name in "abc")).grid({})
