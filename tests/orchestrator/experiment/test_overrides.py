"""`KEY=VALUE` of the command line: what it changes, and what it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.cluster.submit import entrypoint
from orchestrator.experiment.load import load_experiment
from tests.support.paths import ROOT
from tests.support.tiny import TINY, Launch
from wsol.errors import InputError


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
        ("optim.lr.deep=3", "'deep' cannot be set"),
        ("evaluation.metrics=[{name: top1}]", "trial.evaluation.metrics does not measure 'max_box_acc_v2'"),
        ("post_hoc.optim.lr=[1]", "command line: post_hoc.optim.lr: cannot be chosen after training"),
        ("post_hoc.evaluation.normalizer=[{name: maxx}]", "unknown normalizer 'maxx', did you mean 'max'?"),
        ("post_hoc.method.percentile=[1]", "no key 'percentile'"),
        ("resources.workers=5", "command line: resources.workers: 5 workers cannot share out a global batch of 4"),
        ("data.resize_size=31", "command line: trial.data.resize_size: 31 is smaller than image_size 32"),
        (
            "search.optim.momentum={low: 0, high: optim.lrr}",
            "search.optim.momentum: no key 'lrr' in 'optim.lrr', did you mean 'lr'?",
        ),
        (
            "search.optim.momentum={low: 0.05, high: optim.lr}",
            "low can be 0.05 while high is only 0.001: no value would be left",
        ),
        (
            "search.optm.momentum={low: optim.lr, high: 1}",
            "search.optm.momentum: no key 'optm' in 'optm.momentum', did you mean 'optim'?",
        ),
        ("search.optim.momentum={low: backbone.name, high: 1}", "its bounds must be numbers, or paths of numbers"),
        ("search.optim.momentum={low: search.optim.momentum, high: 1}", "no key 'search'"),
        (
            "search.optim.momentum={low: optim.momentum, high: 1}",
            "depends on optim.momentum, which must stand above it in search",
        ),
        (
            "search.optim.lr={low: 0.001, high: 0.1, when: {backbone.strde: 8}}",
            "no key 'strde' in 'backbone.strde', did you mean 'stride'?",
        ),
        (
            "search.optim.momentum={fixed: 0.8}",
            "the published value trial.optim.momentum = 0.9 lies outside of the search range",
        ),
        (
            "search.evaluation.normalizer.name={choices: [min_max, ivvr]}",
            "'ivvr' is not allowed: unknown normalizer 'ivvr', did you mean 'ivr'?",
        ),
        ("study.sampler=grid", "search.optim.lr: a grid needs choices or a step, this is a continuous range"),
        ("study.objective=[train_fullsup/max_box_acc_v2, train_fullsup/nothing]", "does not measure 'nothing'"),
        ("study.objective=[]", "study.objective"),
        ("seed=true", "command line: trial.seed: should be a valid integer"),
    ],
)
def test_wrong_overrides(space_file: Path, override: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(space_file, [override])
    assert message in str(error.value)


def test_overrides_reach_every_section(space_file: Path) -> None:
    loaded = load_experiment(
        space_file,
        ["optim.momentum=0.5", "trial.seed=7", "study.trials=5", "resources.workers=2", "search.optim.lr.high=0.2"],
    )
    experiment = loaded.experiment
    assert (
        experiment.trial.optim.momentum,
        experiment.trial.seed,
        experiment.study.trials,
        experiment.resources.workers,
    ) == (0.5, 7, 5, 2)
    assert experiment.search["optim.lr"].high == 0.2
    assert loaded.notes == []


def test_an_override_of_a_searched_value_fixes_it(space_file: Path) -> None:
    loaded = load_experiment(space_file, ["optim.lr=0.02"])
    assert loaded.experiment.trial.optim.lr == 0.02
    assert loaded.experiment.search == {}
    assert loaded.notes == ["optim.lr is fixed at 0.02 and no longer searched"]


FULL = {
    **TINY,
    "search": {"optim.lr": {"low": 0.001, "high": 0.1, "log": True}, "backbone.stride": {"choices": [8, 16]}},
    "points": [{"name": "ours", "values": {"optim.lr": 0.1}}, {"name": "theirs", "values": {"optim.lr": 0.01}}],
    "post_hoc": {"evaluation.normalizer": [{"name": "max"}, {"name": "pas"}]},
    "study": {"trials": 3, "seed": 7},
    "resources": {"workers": 2},
}
"""A file with something in every section."""


@pytest.fixture
def full_file(space_file: Path) -> Path:
    """The tiny file with something in every section."""
    space_file.write_text(yaml.safe_dump(FULL, sort_keys=False))
    return space_file


@pytest.mark.parametrize(
    ("override", "section", "value", "note"),
    [
        ("post_hoc={}", "post_hoc", {}, "post_hoc is replaced; it no longer has evaluation.normalizer"),
        ("points=[]", "points", [], "points is replaced; it no longer has ours, theirs"),
        ("search={}", "search", {}, "search is replaced; it no longer has optim.lr, backbone.stride"),
        ("study={trials: 5}", "study", {"trials": 5}, "study is replaced; it no longer has seed"),
        ("resources={}", "resources", {}, "resources is replaced; it no longer has workers"),
        ("resources={workers: 1}", "resources", {"workers": 1}, None),
        (
            "points=[{name: ours, values: {optim.lr: 0.05}}]",
            "points",
            [{"name": "ours", "values": {"optim.lr": 0.05}}],
            "points is replaced; it no longer has theirs",
        ),
    ],
)
def test_a_section_is_replaced_as_a_whole(
    full_file: Path, override: str, section: str, value: object, note: str | None
) -> None:
    loaded = load_experiment(full_file, [override])
    full_file.write_text(yaml.safe_dump({**FULL, section: value}, sort_keys=False))
    assert loaded.experiment == load_experiment(full_file).experiment
    assert loaded.notes == ([note] if note else [])


def test_a_section_that_is_missing_or_empty_is_made(space_file: Path) -> None:
    space_file.write_text(space_file.read_text() + "points:\npost_hoc: null\n")
    words = ["post_hoc={}", "points=[]", "post_hoc.evaluation.normalizer=[{name: max}]", "resources={workers: 2}"]
    loaded = load_experiment(space_file, words)
    assert list(loaded.experiment.post_hoc) == ["evaluation.normalizer"] and loaded.notes == []
    assert loaded.experiment.resources.workers == 2


def test_whole_sections_come_before_what_stands_in_them(full_file: Path) -> None:
    loaded = load_experiment(full_file, ["study.seed=5", "search.optim.lr={low: 0.001, high: 0.2}", "study={}"])
    assert (loaded.experiment.study.trials, loaded.experiment.study.seed) == (30, 5)
    assert list(loaded.experiment.search) == ["optim.lr", "backbone.stride"]


@pytest.mark.parametrize(
    ("override", "note"),
    [
        ("search.optim.lr={low: 0.001, high: 0.2}", "search.optim.lr is replaced; it no longer has log"),
        ("search.optim.lr={low: 0.001, high: 0.2, log: true}", None),
        ("search.optim.lr.high=0.2", None),
        ("optim={momentum: 0.8}", "optim is replaced; it no longer has lr"),
        ("backbone={name: tiny}", "backbone is replaced; it no longer has stride, width"),
        ("backbone={name: tiny, stride: 8, width: 8}", None),
        ("post_hoc.evaluation.normalizer=[{name: pas}]",
         "post_hoc.evaluation.normalizer is replaced; it no longer has max"),
    ],
)  # fmt: skip
def test_what_a_replaced_mapping_loses_is_said(full_file: Path, override: str, note: str | None) -> None:
    words = ["optim.lr=0.02", override] if override.startswith("optim") else [override]
    notes = [note for note in load_experiment(full_file, words).notes if "fixed" not in note]
    assert notes == ([note] if note else [])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("points={}", "command line: points: should be a valid list"),
        ("search=[]", "command line: search: should be a mapping of keys to values"),
        ("study=3", "command line: study: should be a mapping of keys to values"),
        ("search={optim.lrr: {low: 1, high: 2}}", "command line: search.optim.lrr: no key 'lrr'"),
        ("points=[{name: ours, values: {optim.lr: 0.5}}]", "command line: points.0.values.optim.lr: 0.5 lies outside"),
        ("points.7.name=x", "command line: points.7.name: '7' cannot be set inside of [{"),
        ("points.².name=x", "command line: points.².name: '²' cannot be set"),
        ("points.0.nam=x", "command line: points.0.nam: unknown key, did you mean 'name'?"),
        ("evaluation.metrics.0.name=max_box", "command line: trial.evaluation.metrics"),
        ("seed=17179869185", "command line: trial.seed: should be less than or equal to 17179869184, got 17179869185"),
        ("study.seed=9223372036854775807", "command line: study.seed: should be less than 4294967296"),
        ("seed=99999999999999999999", "command line: 99999999999999999999 is beyond 64 bits"),
        ("optim.lr=1e400", "command line: 1e400 is beyond 64 bits"),
        ("optim={lr: 1e400}", "command line:1: lr: 1e400 is beyond 64 bits"),
        ("optim={lr: 1, lr: 2}", "command line:1: lr: stands twice"),
        (".".join("x" * 60) + "=1", "nested deeper than 50 levels"),
        ("optim.\x1b[31m=1", r"command line: trial.optim.\x1b[31m: unknown key"),
        ("optim.a\nb=1", r"command line: trial.optim.a\nb: unknown key"),
        ("x" * 5000 + "=1", "unknown key"),
        ("method=" + "x" * 5000, "unknown method"),
    ],
    ids=lambda text: ascii(text[:40]),
)  # fmt: skip
def test_overrides_that_nothing_can_be_made_of(full_file: Path, override: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(full_file, [override])
    line = next(line for line in str(error.value).splitlines() if message in line)
    assert line.startswith("command line")


def test_paths_arrive_whole(space_file: Path) -> None:
    for path in ("/data/my images #2", "/data/first: second", "/data/[old]", "{x}/y", "off", "1:30"):
        loaded = load_experiment(space_file, [f"data.root={path}", f"initial_run={path}"])
        assert (loaded.experiment.trial.data.root, loaded.experiment.trial.initial_run) == (path, path)


def test_words_longer_than_a_file_name_are_overrides(space_file: Path, launch: Launch) -> None:
    long = f"data.root=/{'x' * 300}"
    assert launch("validate", str(space_file), long)[0] == 0
    code, _, err = launch("validate", str(space_file), f"optim.lr={'9' * 5000}")
    assert code == 2 and len(err.splitlines()) == 1
    code, _, err = launch("validate", "search_spaces/" + "x" * 300 + ".yaml")
    assert code == 2 and "cannot be read" in err
    assert entrypoint(["train", str(ROOT / "search_spaces" / "cam_cub.yaml"), long], "/shared").endswith(long)
