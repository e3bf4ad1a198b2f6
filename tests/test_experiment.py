"""Search-space files: everything wrong is said at once, with file, line, path and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.experiment import config_hash, load_experiment
from wsol.errors import InputError

SHIPPED = sorted((Path(__file__).parent.parent / "search_spaces").glob("*.yaml"))

BAD = """trial:
  method: {name: hass, drop_rate: 2}
  backbone: {name: tiny, stirde: 8}
  data: {name: synthetic, image_size: "64"}
  optim: {lr: -1, lrr: 3}
search:
  optim.lr: {low: 1, high: 0.1}
studdy: {trials: 8}
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid(path: Path) -> None:
    experiment = load_experiment(path).experiment
    assert experiment.configure(experiment.space().point(experiment.base())) == experiment.trial


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    with pytest.raises(InputError) as error:
        load_experiment(path)
    lines = str(error.value).splitlines()
    expected = [
        (2, "trial.method: unknown method 'hass', did you mean 'has'?; there are"),
        (3, "trial.backbone.stirde: unknown key, did you mean 'stride'?; allowed are"),
        (4, "trial.data.image_size: should be a valid integer, got '64'"),
        (5, "trial.optim.lr: should be greater than 0, got -1"),
        (5, "trial.optim.lrr: unknown key, did you mean 'lr'?"),
        (7, "search.optim.lr: low must be below high, got 1 and 0.1"),
        (8, "studdy: unknown key, did you mean 'study'?"),
    ]
    assert len(lines) == len(expected)
    for line, (number, text) in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}:{number}: {text}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optm.lr=3", "command line: trial.optm: unknown key, did you mean 'optim'?"),
        ("optim.lr", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("search.optim.lrr={low: 1, high: 2}", "no key 'lrr' in 'optim.lrr', did you mean 'lr'?"),
        ("search.optim.lr.high=30", "30 is not allowed: should be less than or equal to 10"),
        ("search.optim.lr.low=0.05", "the published value trial.optim.lr = 0.01 lies outside of the search range"),
        ("search.optim.lr=3", "should be a mapping"),
        ("search.backbone.stride={choices: [8, 12]}", "12 is not allowed"),
        ("study.trials=zero", "command line: study.trials: should be a valid integer, got 'zero'"),
        ("study.objective=test/max_box_acc_v2", "should be train_fullsup/<metric>"),
        ("study.objective=train_fullsup/maxboxacc", "does not measure 'maxboxacc', did you mean 'max_box_acc'?"),
        ("optim.lr.deep=3", "'deep' can not be set"),
        ("evaluation.metrics=[{name: top1}]", "trial.evaluation.metrics does not measure 'max_box_acc_v2'"),
        ("post_hoc.optim.lr=[1]", "command line: post_hoc.optim.lr: can not be chosen after training"),
        ("post_hoc.evaluation.normalizer=[{name: maxx}]", "unknown normalizer 'maxx', did you mean 'max'?"),
        ("post_hoc.method.percentile=[1]", "no key 'percentile'"),
        ("resources.workers=5", "command line: resources.workers: 5 workers can not share out a global batch of 4"),
        ("data.resize_size=31", "command line: trial.data.resize_size: 31 is smaller than image_size 32"),
        ("seed=true", "command line: trial.seed: should be a valid integer"),
    ],
)
def test_wrong_overrides(space_file: Path, override: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(space_file, [override])
    assert message in str(error.value)


def test_overrides_reach_every_section(space_file: Path) -> None:
    loaded = load_experiment(space_file, ["optim.momentum=0.5", "trial.seed=7", "study.trials=5", "resources.workers=2", "search.optim.lr.high=0.2"])
    experiment = loaded.experiment
    assert (experiment.trial.optim.momentum, experiment.trial.seed, experiment.study.trials, experiment.resources.workers) == (0.5, 7, 5, 2)
    assert experiment.search["optim.lr"].high == 0.2
    assert loaded.notes == []


def test_an_override_of_a_searched_value_fixes_it(space_file: Path) -> None:
    loaded = load_experiment(space_file, ["optim.lr=0.02"])
    assert loaded.experiment.trial.optim.lr == 0.02
    assert loaded.experiment.search == {}
    assert loaded.notes == ["optim.lr is fixed at 0.02 and no longer searched"]


def test_the_hash_is_of_the_resolved_configuration(space_file: Path) -> None:
    plain = load_experiment(space_file).experiment.trial
    assert config_hash(plain) == config_hash(load_experiment(space_file, ["optim.weight_decay=1e-4"]).experiment.trial)
    assert config_hash(plain) != config_hash(load_experiment(space_file, ["optim.weight_decay=2e-4"]).experiment.trial)
