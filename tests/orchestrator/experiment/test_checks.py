"""Search-space files: everything wrong is said at once, with file, line, path and what is allowed."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import yaml

from orchestrator.experiment.grace import grace_epochs
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import config_hash
from orchestrator.experiment.post_hoc import require_choosable
from wsol.errors import InputError
from wsol.metrics import max_box_acc_v2

BAD = """trial:
  method: {name: hass, drop_rate: 2}
  backbone: {name: tiny, stirde: 8}
  data: {name: synthetic, image_size: "64"}
  optim: {lr: -1, lrr: 3}
search:
  optim.lr: {low: 1, high: 0.1}
studdy: {trials: 8}
"""


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


def test_the_hash_is_of_the_resolved_configuration(space_file: Path) -> None:
    plain = load_experiment(space_file).experiment.trial
    assert config_hash(plain) == config_hash(load_experiment(space_file, ["optim.weight_decay=1e-4"]).experiment.trial)
    assert config_hash(plain) != config_hash(load_experiment(space_file, ["optim.weight_decay=2e-4"]).experiment.trial)


def test_settings_of_another_plugin_are_searched_where_it_is_chosen(space_file: Path) -> None:
    """The percentile only with ivr; what all backbones take stays when another one is chosen."""
    words = [
        "search.evaluation.normalizer.name={choices: [min_max, ivr, pas]}",
        "search.evaluation.normalizer.lower_percentile={low: 0.2, high: 0.6, when: {evaluation.normalizer.name: ivr}}",
    ]
    experiment = load_experiment(space_file, words).experiment
    space, base = experiment.space(), experiment.base()
    assert space.point(base) == {"optim.lr": 0.01, "evaluation.normalizer.name": "min_max"}
    assert [parameter.integer for parameter in space.parameters] == [False, False, False]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [space.suggest(study.ask(), base) for _ in range(60)]
    for values in drawn:
        normalizer = experiment.configure(dict(reversed(values.items()))).evaluation.normalizer
        assert normalizer.name == values["evaluation.normalizer.name"]
        assert ("evaluation.normalizer.lower_percentile" in values) == (normalizer.name == "ivr")
    assert {values["evaluation.normalizer.name"] for values in drawn} == {"min_max", "ivr", "pas"}
    backbone = experiment.configure({"backbone.name": "resnet50"}).backbone
    assert (backbone.name, backbone.stride, backbone.weights) == ("resnet50", 8, experiment.trial.backbone.weights)


def test_bounds_may_be_other_values_which_move_along_when_ends_are_checked(space_file: Path) -> None:
    words = [
        "method.name=spg",
        "search.method.attention_low={low: 0.0, high: 0.9}",
        "search.method.attention_high={low: method.attention_low, high: 1.0}",
    ]
    experiment = load_experiment(space_file, words).experiment
    assert experiment.extent("method.attention_high") == (0.0, 1.0)
    between = "search.method.b2_low={low: method.attention_low, high: method.attention_high}"
    assert (
        load_experiment(space_file, [*words, between, "method.b2_high=1.0"]).experiment.search["method.b2_low"].bounds
    )
    with pytest.raises(InputError, match=r"0\.9 is not allowed"):
        load_experiment(space_file, words[:2])


def test_a_metric_that_is_better_when_lower_is_no_objective(space_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(max_box_acc_v2.MaxBoxAccV2, "higher_is_better", False)
    with pytest.raises(
        InputError, match=r"study\.objective: 'max_box_acc_v2' is better when lower, and searches look for high values"
    ):
        load_experiment(space_file)


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ("0.@5", r"search\.optim\.lr: .*0\.@5"),
        ("method.name", r"search\.optim\.lr: its bounds must be numbers, or paths of numbers"),
    ],
)
def test_a_bound_that_is_no_number_is_named_beside_points(bound: str, message: str, space_file: Path) -> None:
    words = [
        f"search.optim.lr={{low: 0.001, high: {bound}}}",
        "points=[{name: a, source: b, values: {optim.lr: 0.05}}]",
    ]
    with pytest.raises(InputError, match=message):
        load_experiment(space_file, words)


def test_a_metric_stands_once(space_file: Path) -> None:
    """Of two with one name, the second would have replaced the values of the first."""
    twice = "evaluation.metrics=[{name: max_box_acc_v2}, {name: top1}, {name: top1, contours: all}]"
    with pytest.raises(InputError, match=r"trial\.evaluation\.metrics: top1 stands there twice"):
        load_experiment(space_file, [twice])


def test_a_scheduler_needs_an_epoch_to_stop_in(space_file: Path) -> None:
    words = ["study.scheduler=asha", "training.epochs=4", "optim.lr_decay_every=4"]
    with pytest.raises(InputError, match=r"no trial may be stopped before epoch 4 .*, and training has 4: use none"):
        load_experiment(space_file, words)
    load_experiment(space_file, [*words, "study.grace_epochs=1"])
    load_experiment(space_file, [*words, "study.trials=1"])  # nobody expects that one to be stopped
    load_experiment(space_file, ["study.scheduler=asha", "training.epochs=1"])
    late = [
        "search.optim.lr_decay_every={low: 2, high: 3}",
        "optim.lr_decay_every=2",
        "search.optim.lr_decay_every={low: 2, high: 3}",
    ]
    assert grace_epochs(load_experiment(space_file, [*words, *late]).experiment) == 3
    with pytest.raises(InputError, match="several objectives need scheduler: none"):
        load_experiment(
            space_file, [*words[:2], "study.objective=[train_fullsup/max_box_acc_v2, train_fullsup/max_box_acc]"]
        )


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("values: {optim.lr: 0.5}", "15: points.0.values.optim.lr: 0.5 lies outside of the search range"),
        ("values: {optim.lrr: 0.5}", "15: points.0.values: no key 'lrr' in 'optim.lrr', did you mean 'lr'?"),
        ("values: {optim.momentum: 2}", "15: points.0.values: should be less than 1, got 2"),
        ("values: {method.name: camm}", "15: points.0.values: unknown method 'camm', did you mean 'cam'?"),
        ("valus: {optim.momentum: 2}", "15: points.0.valus: unknown key, did you mean 'values'?"),
        (
            "values: {optim.momentum: 0.1}}, {name: a, values: {optim.momentum: 0.2}",
            "15: points.1.name: there are two points called 'a'",
        ),
    ],
)
def test_wrong_points(space_file: Path, point: str, message: str) -> None:
    lines = yaml.safe_dump(yaml.safe_load(space_file.read_text()), default_flow_style=None, width=200).splitlines()
    space_file.write_text("\n".join([*lines, *["#"] * (14 - len(lines)), f"points: [{{name: a, {point}}}]"]))
    with pytest.raises(InputError) as error:
        load_experiment(space_file)
    assert message in str(error.value)


def test_a_wrong_path_is_said_once(space_file: Path) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(space_file, ["search.optim.lrr={low: 1, high: 2}"])
    assert len(str(error.value).splitlines()) == 1


def test_words_that_yaml_1_1_reads_as_booleans_are_words(space_file: Path) -> None:
    """Also in files, where our own messages advise `cache: off`."""
    text = space_file.read_text()
    space_file.write_text(text.replace("name: synthetic", "name: synthetic\n    cache: off"))
    assert load_experiment(space_file).experiment.trial.data.cache == "off"
    assert load_experiment(space_file, ["data.cache=on"]).experiment.trial.data.cache == "on"
    space_file.write_text(text.replace("name: cam", "name: no"))
    with pytest.raises(InputError, match=r"trial\.method: unknown method 'no'"):
        load_experiment(space_file)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["training.checkpoint=last"], "study.trials: few_shot trains on all images of train_fullsup here"),
        (["study.trials=1"], "trial.training: few_shot trains on all images of train_fullsup here"),
    ],
)
def test_nothing_is_chosen_by_images_that_were_all_trained_on(space_file: Path, words: list[str], wrong: str) -> None:
    for all_of_them in ("data.fullsup_per_class=1", "method={name: few_shot, train_share: 1}"):
        with pytest.raises(InputError, match=wrong):
            load_experiment(space_file, ["method=few_shot", all_of_them, *words])
    alone = ["method=few_shot", "data.fullsup_per_class=1", "training.checkpoint=last", "study.trials=1"]
    trial = load_experiment(space_file, alone).experiment.trial
    require_choosable(trial, {})
    with pytest.raises(InputError, match="post_hoc: few_shot trains on all images of train_fullsup here"):
        require_choosable(trial, {"evaluation.normalizer": [{"name": "max"}]})


@pytest.mark.parametrize(
    "words",
    [
        ["method=few_shot", "search.method.train_share={low: 0.5, high: 0.9}"],
        ["method=few_shot", "search.data.fullsup_per_class={choices: [null, 3]}"],
        ["search.method.name={choices: [cam, few_shot]}"],
        ["method=few_shot", "post_hoc.method.train_share=[0.5]"],
    ],
)
def test_trials_that_other_images_would_select_are_not_compared(space_file: Path, words: list[str]) -> None:
    with pytest.raises(InputError, match="so that other images would select it"):
        load_experiment(space_file, words)
    assert load_experiment(space_file, ["method=few_shot", "search.method.initial_share={low: 0.1, high: 0.9}"])
