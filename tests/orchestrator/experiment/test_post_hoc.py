"""Post-hoc settings: the published ones are always among them and first, and equal ones are there once."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.post_hoc import chosen_twice, post_hoc_settings, with_setting
from orchestrator.study.begin import preview
from tests.support.tiny import TINY
from wsol.errors import InputError

IVR = {"name": "ivr", "lower_percentile": 0.3}
CONFIG = Experiment.model_validate(
    {**TINY, "trial": {**TINY["trial"], "evaluation": {"normalizer": IVR, "threshold_step": 0.01}}}
).trial


@pytest.mark.parametrize("values", permutations([0.1, 0.3, 0.5]))
def test_what_is_published_comes_first_wherever_it_stands(values: tuple[float, ...]) -> None:
    settings = post_hoc_settings(CONFIG, {"evaluation.normalizer.lower_percentile": list(values)})
    assert settings[0] == ({}, CONFIG)
    found = [config.evaluation.normalizer.model_dump()["lower_percentile"] for _, config in settings]
    assert found == [0.3, *(value for value in values if value != 0.3)]


def test_what_is_published_comes_first_where_no_value_is_the_published_one() -> None:
    settings = post_hoc_settings(CONFIG, {"evaluation.normalizer": [{"name": "max"}, {"name": "min_max"}]})
    assert settings[0] == ({}, CONFIG) and len(settings) == 3


def test_those_that_change_least_come_first_and_equal_ones_once() -> None:
    post_hoc: dict[str, list[Any]] = {
        "evaluation.normalizer": [{"name": "max"}, IVR, {**IVR, "name": "ivr"}],
        "evaluation.extractor": [{"name": "grad_cam"}, {"name": "cam"}],
    }
    settings = post_hoc_settings(CONFIG, post_hoc)
    names = [(config.evaluation.normalizer.name, config.evaluation.extractor.name) for _, config in settings]
    assert names == [("ivr", "cam"), ("max", "cam"), ("ivr", "grad_cam"), ("max", "grad_cam")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["post_hoc.evaluation.normalizer=[{name: max, lower: 1}]"],
            "command line: post_hoc.evaluation.normalizer: {'name': 'max', 'lower': 1} is not allowed: unknown key",
        ),
        (
            [
                "evaluation.normalizer={name: pas}",
                "search.evaluation.normalizer.name={choices: [pas, ivr]}",
                "post_hoc.evaluation.normalizer.percentile=[40]",
            ],
            "command line: post_hoc.evaluation.normalizer.percentile: cannot be chosen where evaluation.normalizer.name"
            " is 'ivr': there is no such setting",
        ),
        (
            [
                f"post_hoc.evaluation.normalizer={[{'name': 'pas', 'percentile': n / 2} for n in range(1, 181)]}",
                f"post_hoc.evaluation.extractor={[{'name': 'cam'}] * 100}",
            ],
            "post_hoc: has more than 10,000 combinations, each of which is scored: give fewer values",
        ),
    ],
)
def test_settings_that_cannot_be_chosen(space_file: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(space_file, words)
    assert message in str(error.value)


TRAINED = {
    "optim.lr": 0.1,
    "training.epochs": 3,
    "backbone.stride": 16,
    "data.image_size": 32,
    "seed": 1,
    "method": {"name": "adl"},
    "evaluation": {"threshold_step": 0.1},
    "evaluation.metrics": [{"name": "max_box_acc"}],
    "evaluation.threshold_step": 0.1,
}
"""What changes a weight, or by what is chosen."""


@pytest.mark.parametrize("path", TRAINED)
def test_what_is_trained_or_chosen_by_cannot_be_chosen_after_training(space_file: Path, path: str) -> None:
    space_file.write_text(yaml.safe_dump({**TINY, "post_hoc": {path: [TRAINED[path]]}}))
    with pytest.raises(InputError, match=rf"post_hoc\.{path}: cannot be chosen after training; what can begins with"):
        load_experiment(space_file)


def test_what_changes_no_weight_can_be_searched_like_any_other_value(space_file: Path) -> None:
    """The largest box of CropCAM, and the percentile of whichever normalizer is drawn."""
    words = [
        "method={name: crop_cam}",
        "search.method.max_crop_area={low: 0, high: 1, step: 0.05}",
        "search.evaluation.normalizer.name={choices: [min_max, pas, ivr]}",
        "search.evaluation.normalizer.percentile={low: 70, high: 100, when: {evaluation.normalizer.name: pas}}",
        "search.evaluation.normalizer.lower_percentile={low: 0, high: 0.8, when: {evaluation.normalizer.name: ivr}}",
        "study.sampler=random",
        "study.trials=12",
    ]
    loaded = load_experiment(space_file, words)
    tasks = preview(loaded.experiment, 12)
    assert not loaded.notes and len(tasks) == 12
    for task in tasks:
        plain = task.config.model_dump()
        name = plain["evaluation"]["normalizer"]["name"]
        percentile = {"pas": "percentile", "ivr": "lower_percentile"}.get(name)
        assert ("evaluation.normalizer." + str(percentile) in task.values) == (percentile is not None)
        assert all(with_setting(task.config, {path: value}) == task.config for path, value in task.values.items())
    assert {task.config.evaluation.normalizer.name for task in tasks} == {"min_max", "pas", "ivr"}
    assert len({task.values["method.max_crop_area"] for task in tasks}) > 3


def test_what_is_searched_and_chosen_too_is_said(space_file: Path) -> None:
    words = [
        "evaluation.normalizer={name: pas}",
        "search.evaluation.normalizer.percentile={low: 70, high: 100}",
        "post_hoc.evaluation.normalizer=[{name: max}]",
    ]
    (note,) = load_experiment(space_file, words).notes
    assert note.startswith("search.evaluation.normalizer.percentile is chosen by post_hoc too")
    assert chosen_twice(["a.b", "a.bc", "c", "d.e"], ["a.b.x", "c", "d"]) == ["a.b", "c", "d.e"]
