"""Search-space files: everything wrong is said at once, with file, line, path and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest
import yaml

from orchestrator.experiment.load import load_experiment, load_variants
from orchestrator.experiment.model import config_hash
from orchestrator.runs.folder import create_run, open_experiment
from tests.support.tiny import TINY, Launch
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
        (
            "search.optim.momentum={low: 0, high: optim.lrr}",
            "search.optim.momentum: no key 'lrr' in 'optim.lrr', did you mean 'lr'?",
        ),
        (
            "search.optim.momentum={low: 0.05, high: optim.lr}",
            "low can become 0.05, which is above 0.001, what high can become",
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


def test_a_scheduler_needs_an_epoch_to_stop_in(space_file: Path) -> None:
    words = ["study.scheduler=asha", "training.epochs=4", "optim.lr_decay_every=4"]
    with pytest.raises(InputError, match=r"no trial may be stopped before epoch 4 .*, and training has 4: use none"):
        load_experiment(space_file, words)
    late = [
        "search.optim.lr_decay_every={low: 2, high: 3}",
        "optim.lr_decay_every=2",
        "search.optim.lr_decay_every={low: 2, high: 3}",
    ]
    assert load_experiment(space_file, [*words, *late]).experiment.grace_epochs() == 3
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


VARIANTS = """extends: tiny.yaml
trial: {method: {name: has, cell_size: 8}}
search: {method.cell_size: {low: 4, high: 16}}
points: [{name: ours, values: {method.cell_size: 4}}]
variants:
  wide:
    trial: {backbone: {width: 8}, optim: {lr: 0.05}}
    points: [{name: theirs, values: {method.cell_size: 16}}]
  other:
    trial:
      method: {name: cutmix}
    search: {optim.lr: {high: 0.2}}
"""


@pytest.fixture
def variants_file(space_file: Path) -> Path:
    """A file that extends the tiny one and has variants; the second one is wrong."""
    path = space_file.with_name("has.yaml")
    path.write_text(VARIANTS)
    return path


def test_a_variant_is_merged_over_the_file(variants_file: Path) -> None:
    own, wide = load_experiment(variants_file), load_experiment(variants_file, ["optim.momentum=0.5", "variant=wide"])
    assert (own.name, wide.name) == ("has", "has-wide")
    trial = wide.experiment.trial
    assert (
        trial.model_copy(update={"backbone": own.experiment.trial.backbone, "optim": own.experiment.trial.optim})
        == own.experiment.trial
    )
    assert (trial.backbone.model_dump()["width"], trial.optim.lr, trial.optim.momentum) == (8, 0.05, 0.5)
    assert list(wide.experiment.search) == ["optim.lr", "method.cell_size"]
    assert [[point.name for point in loaded.experiment.points] for loaded in (own, wide)] == [["ours"], ["theirs"]]
    assert load_experiment(variants_file, ["variant=wide", "optim.lr=0.02"]).experiment.trial.optim.lr == 0.02


def test_the_mistakes_of_a_variant_have_its_lines(variants_file: Path) -> None:
    message = f"{variants_file}:3: search.method.cell_size: no key 'cell_size'"
    with pytest.raises(InputError) as error:
        load_experiment(variants_file, ["variant=other"])
    assert message in str(error.value)
    with pytest.raises(InputError) as error:
        load_variants(variants_file)
    assert message in str(error.value)
    variants_file.write_text(
        VARIANTS.replace("width: 8", "widht: 8").replace("method: {name: cutmix}", "optim: {lr: -1}")
    )
    with pytest.raises(InputError) as error:
        load_variants(variants_file)
    assert [line.partition(": ")[0] for line in str(error.value).splitlines()] == [
        f"{variants_file}:7",
        f"{variants_file}:11",
    ]
    variants_file.write_text(VARIANTS.replace("other", "# other").partition("# other")[0])
    assert list(load_variants(variants_file)[1]) == ["wide"]


def test_mistakes_of_an_inherited_part_have_its_file_and_line(space_file: Path, variants_file: Path) -> None:
    space_file.write_text(space_file.read_text().replace("epochs: 2", "epochs: zero"))
    line = next(number for number, text in enumerate(space_file.read_text().splitlines(), 1) if "zero" in text)
    with pytest.raises(InputError) as error:
        load_experiment(variants_file, ["variant=wide"])
    assert str(error.value).startswith(
        f"{space_file}:{line}: trial.training.epochs: should be a valid integer, got 'zero'"
    )


@pytest.mark.parametrize(
    ("file", "variant", "message"),
    [
        (
            "has.yaml",
            "wiede",
            "command line: variant=wiede: has.yaml has no such variant, did you mean 'wide'?; there are wide, other",
        ),
        ("tiny.yaml", "wide", "command line: variant=wide: tiny.yaml has no such variant; it has none"),
    ],
)
def test_there_is_no_such_variant(variants_file: Path, file: str, variant: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(Path(file), [f"variant={variant}"])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [("[a]", "variants: should be a mapping"), ("{a: 3}", "variants.a: should be a mapping with trial, search")],
)
def test_variants_are_mappings(space_file: Path, text: str, message: str) -> None:
    lines = space_file.read_text().splitlines()
    space_file.write_text("\n".join([*lines, f"variants: {text}"]))
    with pytest.raises(InputError) as error:
        load_experiment(space_file)
    assert str(error.value).startswith(f"{space_file}:{len(lines) + 1}: {message}")


def test_a_run_folder_needs_no_other_file(variants_file: Path, tmp_path: Path) -> None:
    """What is written there is resolved: no `extends`, no `variants`."""
    loaded = load_experiment(variants_file, ["variant=wide"])
    (tmp_path / "elsewhere").mkdir()
    create_run(tmp_path / "elsewhere", loaded, "search")
    (tmp_path / "elsewhere" / "study.json").write_text("{}")
    for path in tmp_path.glob("*.yaml"):
        path.unlink()
    assert open_experiment(tmp_path / "elsewhere") == loaded.experiment


HAS = {
    "trial": {**TINY["trial"], "method": {"name": "has", "cell_size": 8, "drop_rate": 0.3}},
    "search": {
        "method.cell_size": {"low": 4, "high": 16},
        "optim.lr": {"low": 0.001, "high": 0.1},
        "backbone.stride": {"choices": [8, 16]},
    },
    "points": [{"name": "small", "values": {"method.cell_size": 4}}, {"name": "fast", "values": {"optim.lr": 0.1}}],
    "post_hoc": {"evaluation.normalizer": [{"name": "max"}], "evaluation.extractor": [{"name": "cam"}]},
}


@pytest.mark.parametrize("override", ["method=adl", "method.name=adl", "trial.method=adl", "method={name: adl}"])
def test_another_method_starts_from_its_own_defaults(space_file: Path, launch: Launch, override: str) -> None:
    """What the file searches of the former one is left out where nothing is searched, and refused elsewhere."""
    space_file.write_text(yaml.safe_dump(HAS))
    loaded = load_experiment(space_file, ["method.drop_threshold=0.5", override], ignores_search=True)
    assert loaded.experiment.trial.method.model_dump() == {"name": "adl", "drop_threshold": 0.5, "drop_rate": 0.75}
    assert list(loaded.experiment.search) == ["backbone.stride", "optim.lr"] and [
        point.name for point in loaded.experiment.points
    ] == ["fast"]
    assert loaded.notes == [f"method is adl; left out of {space_file}: search.method.cell_size, points.0"]
    with pytest.raises(
        InputError,
        match=(
            f"{re.escape(override)}: .*tiny.yaml searches has: search.method.cell_size, points.0; search a file of adl"
        ),
    ):
        load_experiment(space_file, [override])
    for verb in ("search", "validate"):
        code, _, err = launch(verb, str(space_file), override)
        assert code == 2 and "searches has" in err
    assert launch("validate", str(space_file), "optim.lr=0.02")[:2] == (
        0,
        f"{space_file}: ok, has on synthetic, 2 searched values\n",
    )
    assert launch("validate", str(space_file), "optim.lr=0.5", "method=had")[0] == 2


def test_the_same_plugin_again_changes_nothing_and_shared_settings_stay(space_file: Path) -> None:
    space_file.write_text(yaml.safe_dump(HAS))
    assert load_experiment(space_file, ["method=has"]).experiment == load_experiment(space_file).experiment
    other = load_experiment(
        space_file, ["backbone=resnet50"]
    )  # its stride is searched, which all backbones have; the width is the former one's own
    assert (
        other.experiment.trial.backbone.stride == 8
        and "backbone.stride" in other.experiment.search
        and other.notes == []
    )
    with pytest.raises(InputError, match="unknown method 'had', did you mean 'has'"):
        load_experiment(space_file, ["method=had"])


def test_train_takes_another_method_than_the_file_searches(space_file: Path, launch: Launch) -> None:
    space_file.write_text(yaml.safe_dump(HAS))
    code, out, _ = launch("train", str(space_file), "method=cutmix", "training.epochs=1", "--run", "runs/cutmix")
    assert code == 0 and "note: method is cutmix; left out of" in out
    assert "name: cutmix" in Path("runs/cutmix/best/config.yaml").read_text()
