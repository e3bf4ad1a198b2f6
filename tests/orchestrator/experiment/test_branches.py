"""What a search could not draw in some trial is refused before the first; what no one drew fulfils no condition."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import yaml

from orchestrator.experiment.load import load_experiment, parse_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.space import Distribution, Parameter, Space
from orchestrator.formats import to_yaml
from tests.support.tiny import TINY
from wsol.errors import InputError

NAMES = "search.method.name={choices: [cam, has, adl]}"
HAS = "when: {method.name: has}"


def draws(experiment: Experiment, count: int = 60) -> list[dict[str, object]]:
    """Points of a search, each of which is a configuration."""
    study, space = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), experiment.space()
    drawn = [space.suggest(study.ask(), experiment.base()) for _ in range(count)]
    for values in drawn:
        assert space.point(experiment.configure(values).model_dump()) == values
    return drawn


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["method.name=has", NAMES, "search.method.cell_size={low: 4, high: 16}"],
            "search.method.cell_size: there is no method.cell_size where method.name is 'cam'; give a condition",
        ),
        (
            ["method.name=has", NAMES, "search.method.drop_rate={low: 0.1, high: 0.6}"],
            "search.method.drop_rate: there is no method.drop_rate where method.name is 'cam'",
        ),
        (
            [
                "search.method.name={choices: [cam, has]}",
                f"search.method.cell_size={{low: 4, high: 16, {HAS}}}",
                "search.optim.momentum={low: 0.8, high: 0.9, when: {method.name: [has, adl]}}",
            ],
            "search.optim.momentum: its condition can never hold: method.name is one of cam, has, not 'adl'",
        ),
        (
            [
                NAMES,
                "search.method.drop_rate={low: 0.1, high: 1.0, when: {method.name: [has, adl]}}",
                "search.method.drop_threshold={low: 0.1, high: 0.9, when: {method.drop_rate: 0.5}}",
            ],
            "search.method.drop_threshold: no key 'drop_threshold' in 'method.drop_threshold'",
        ),
        (
            [
                NAMES,
                f"search.method.cell_size={{choices: [4, 8], {HAS}}}",
                "search.optim.momentum={low: 0.1, high: 0.95, when: {method.name: cam, method.cell_size: 4}}",
            ],
            "search.optim.momentum: its conditions can never hold together",
        ),
        (
            [
                NAMES,
                f"search.method.drop_rate={{low: 0.1, high: 0.6, {HAS}}}",
                "search.optim.momentum={low: method.drop_rate, high: 0.95}",
            ],
            "search.optim.momentum: there is no method.drop_rate where method.name is 'cam'",
        ),
        (
            [
                "method.name=has",
                "search.backbone.stride={choices: [8, 16]}",
                "search.method.drop_rate={low: 0.1, high: 0.6, when: {backbone.stride: 16}}",
                "search.method.cell_size={choices: [4, 8], when: {method.drop_rate: 0.9}}",
            ],
            "search.method.cell_size: its condition can never hold: method.drop_rate is from 0.1 to 0.6, not 0.9",
        ),
        (
            ["search.backbone.stride={choices: [8, 16, 8]}"],
            "search.backbone.stride: the choice 8 stands twice",
        ),
        (
            ["search.optim.lr_decay_every={low: 1, high: 20, step: 0.5}"],
            "search.optim.lr_decay_every: step should be a whole number, got 0.5: integers are drawn here",
        ),
        (["search.optim.lr_decay_every={low: 1, high: 20, step: 1.5}"], "step should be a whole number, got 1.5"),
        (["search.optim.lr_decay_every={low: 1, high: 20, step: 2.5}"], "step should be a whole number, got 2.5"),
        (["search.optim.lr_decay_every={low: 1.5, high: 20}"], "low should be a whole number, got 1.5"),
        (["search.optim.lr_decay_every={low: 1, high: 20.25}"], "high should be a whole number, got 20.25"),
        (
            ["search.optim.lr_decay_every={low: optim.momentum, high: 20}"],
            "low should be the path of a whole number, got optim.momentum",
        ),
        (
            ["search.optim.lr_decay_every={low: 10, high: 20, step: 30}"],
            "a step of 30 is wider than the range: only 10 would be drawn",
        ),
        (
            [
                "evaluation.normalizer.name=ivr",
                "search.evaluation.normalizer.name={choices: [min_max, ivr, pas]}",
                "post_hoc.evaluation.normalizer.lower_percentile=[0.3, 0.4]",
            ],
            "post_hoc.evaluation.normalizer.lower_percentile: cannot be chosen where evaluation.normalizer.name is"
            " 'min_max': there is no such setting",
        ),
        (
            [
                "evaluation.normalizer.name=ivr",
                "post_hoc.evaluation.normalizer.lower_percentile=[0.3, 0.4]",
                "post_hoc.evaluation.normalizer=[{name: min_max}, {name: ivr}]",
            ],
            "post_hoc.evaluation.normalizer.lower_percentile: is a part of evaluation.normalizer, which is chosen as a",
        ),
        (
            ["study.objective=train_fullsup/max_box_acc_v2/iou_33"],
            "study.objective: max_box_acc_v2 gives no 'train_fullsup/max_box_acc_v2/iou_33', did you mean"
            " 'train_fullsup/max_box_acc_v2/iou_3",
        ),
        (["study.objective=[train_fullsup/top1, train_fullsup/top1/lok]"], "did you mean 'train_fullsup/top1/loc'?"),
        (["study.objective=train_fullsup/max_box_acc_v2/"], "max_box_acc_v2 gives no 'train_fullsup/max_box_acc_v2/'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(space_file: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(space_file, words)
    assert message in str(error.value)
    assert str(error.value).startswith("command line: ")


@pytest.mark.parametrize(
    "words",
    [
        [NAMES, f"search.method.cell_size={{low: 4, high: 16, {HAS}}}"],
        [NAMES, "search.method.drop_rate={low: 0.1, high: 0.6, when: {method.name: [has, adl]}}"],
        [
            "search.method.name={choices: [has, cam]}",
            f"search.method.cell_size={{choices: [4, 8], {HAS}}}",
            "search.optim.momentum={low: 0.5, high: 0.95, when: {method.cell_size: 8}}",
        ],
        ["search.optim.lr_decay_every={low: 1.0, high: 20, step: 2.0}"],
        ["search.optim.momentum={low: 0.5, high: 0.9, step: 0.4}"],
    ],
)
def test_what_can_be_drawn_in_every_branch_is_drawn(space_file: Path, words: list[str]) -> None:
    experiment = load_experiment(space_file, words).experiment
    drawn = draws(experiment)
    for path in experiment.search:
        assert len({values[path] for values in drawn if path in values}) > 1, path


@pytest.mark.parametrize(
    ("metric", "part"),
    [
        ("max_box_acc_v2", "iou_30"),
        ("max_box_acc_by_size", "small"),
        ("max_box_acc_by_size", "size_0_1"),
        ("pxap_by_size", "total"),
        ("piou", "threshold"),
        ("top1", "cls"),
    ],
)
def test_an_objective_may_be_any_number_that_a_metric_gives(space_file: Path, metric: str, part: str) -> None:
    words = [f"evaluation.metrics=[{{name: {metric}}}]", f"study.objective=train_fullsup/{metric}/{part}"]
    assert load_experiment(space_file, words).experiment.study.objectives == [f"train_fullsup/{metric}/{part}"]


def test_a_value_that_was_not_drawn_fulfils_no_condition() -> None:
    """Neither does what stands there in the published configuration, whether points are drawn, looked up or listed."""
    space = Space(
        (
            Parameter("method.name", Distribution(choices=["has", "cam"]), integer=False),
            Parameter("method.size", Distribution(choices=[4, 8], when={"method.name": "has"}), integer=False),
            Parameter("optim.lr", Distribution(choices=[1, 2], when={"method.size": 4}), integer=False),
        )
    )
    base = {"method": {"name": "cam", "size": 4}, "optim": {"lr": 1}}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask(), base) for _ in range(60)]
    assert {("optim.lr" in values) for values in drawn if values["method.name"] == "cam"} == {False}
    assert {("optim.lr" in values) for values in drawn if values.get("method.size") == 4} == {True}
    assert space.point(base) == {"method.name": "cam"}
    assert list(space.grid(base)) == [
        {"method.name": "has", "method.size": 4, "optim.lr": 1},
        {"method.name": "has", "method.size": 4, "optim.lr": 2},
        {"method.name": "has", "method.size": 8},
        {"method.name": "cam"},
    ]


def test_what_is_never_drawn_is_said(space_file: Path) -> None:
    search = {
        "method.name": {"choices": ["cam", "has"]},
        "method.cell_size": {"low": 4, "high": 16, "when": {"method.name": "has"}},
    }
    space_file.write_text(yaml.safe_dump({**TINY, "search": search}, sort_keys=False))
    assert load_experiment(space_file).notes == []
    fixed = load_experiment(space_file, ["method.name=cam"])
    assert fixed.notes == [
        "method.name is fixed at cam and no longer searched",
        "search.method.cell_size is never drawn: its condition does not hold",
    ]
    point = "points=[{name: theirs, values: {method.name: has}}]"
    assert load_experiment(space_file, ["method.name=cam", point]).notes == fixed.notes[:1]


def test_a_run_folder_made_before_is_opened(space_file: Path) -> None:
    """What is refused of a new search is not asked of what was searched already."""
    experiment = load_experiment(space_file, ["search.backbone.stride={choices: [8, 16]}"]).experiment
    stride = Distribution(choices=[8, 16, 8])
    older = experiment.model_copy(update={"search": {**experiment.search, "backbone.stride": stride}})
    text = to_yaml(older.model_dump(mode="json"))
    assert parse_experiment(text, "experiment.yaml") == older
    space_file.write_text(text)
    with pytest.raises(InputError, match="the choice 8 stands twice"):
        load_experiment(space_file)


def test_a_grid_of_endless_steps_is_refused_at_once(space_file: Path) -> None:
    words = ["study.sampler=grid", "search.optim.lr={low: 0.001, high: 0.1, step: 1e-40}"]
    with pytest.raises(InputError, match="a grid of more than 100,000 points"):
        load_experiment(space_file, words)
