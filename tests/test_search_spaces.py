"""The shipped search spaces: every file and variant is valid, whatever is drawn can be trained, and the published
numbers are there."""

from __future__ import annotations

import re
import shlex
import time
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.experiment.load import load_experiment, load_variants
from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.points import published_points
from tests.support.paths import ROOT
from wsol import build
from wsol.optim import decay

SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))
BY_NAME = {path.stem: path for path in SHIPPED}

METHODS = [
    "cam",
    "has",
    "acol",
    "spg",
    "adl",
    "cutmix",
    "tap",
    "bridging",
    "da",
    "fcam",
    "crop",
    "crop_da",
    "crop_bridging",
    "crop_ivr",
    "few_shot",
]
DATA = ["cub", "imagenet", "openimages"]
BACKBONES = ["resnet50", "vgg16", "inception_v3"]
CLASSES = {"cub": 200, "imagenet": 1000, "openimages": 100}

CROP_FIELDS = ("positive_weight", "negative_weight", "classification_share", "crop_threshold", "max_crop_area")
SCRIPT = {
    ("imagenet", "resnet50"): (0.9, 0.1, 0.9, 0.15, 0.3, 3.108411e-5),
    ("imagenet", "vgg16"): (1.0, 0.0, 0.4, 0.75, 0.7, 6.680514664e-5),
    ("imagenet", "inception_v3"): (0.3, 0.1, 0.6, 0.8, 0.15, 1.260374694e-4),
    ("cub", "resnet50"): (1.0, 0.1, 0.65, 0.35, 0.4, 5.253329993e-4),
    ("cub", "vgg16"): (0.7, 0.5, 0.4, 0.6, 0.0, 2.909729273e-4),
    ("cub", "inception_v3"): (0.9, 0.6, 0.6, 0.15, 0.0, 4.203227536e-3),
    ("openimages", "resnet50"): (0.7, 0.3, 0.3, 0.65, 0.0, 4.009288426e-4),
    ("openimages", "vgg16"): (0.1, 0.7, 0.7, 0.05, 0.1, 2.402852053e-4),
    ("openimages", "inception_v3"): (0.2, 1.3, 0.9, 0.15, 0.1, 1.48741774e-4),
}
"""CropCAM: `CROP_FIELDS` and the learning rate, a tenth of that of the network, of the released scripts."""
README = {
    ("imagenet", "resnet50"): (0.9, 0.1, 0.9, 0.15, 0.3),
    ("imagenet", "vgg16"): (0.8, 0.5, 0.8, 0.5, 0.9),
    ("imagenet", "inception_v3"): (0.6, 0.7, 0.7, 0.5, 0.6),
    ("cub", "resnet50"): (0.5, 0.2, 0.8, 0.2, 0.8),
    ("cub", "vgg16"): (0.9, 0.1, 0.7, 0.7, 0.2),
    ("cub", "inception_v3"): (1.0, 0.2, 0.8, 0.4, 0.1),
    ("openimages", "resnet50"): (1.5, 0.5, 0.5, 0.3, 1.0),
    ("openimages", "vgg16"): (1.0, 0.7, 0.7, 0.05, 0.1),
    ("openimages", "inception_v3"): (0.2, 1.3, 0.9, 0.15, 0.1),
}
"""The same of the README's table, without learning rates."""

each_file = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
on_each_data_set = pytest.mark.parametrize("data", DATA)


@cache
def loaded(path: Path) -> dict[str, Experiment]:
    """A file as it is, under an empty name, and its variants."""
    own, variants = load_variants(path)
    return {"": own, **variants}


def of(name: str, backbone: str) -> Experiment:
    return loaded(BY_NAME[name])["" if backbone == "resnet50" else backbone]


@each_file
def test_every_file_is_valid(path: Path) -> None:
    for experiment in loaded(path).values():
        assert experiment.configure(experiment.space().point(experiment.base())) == experiment.trial


@each_file
def test_what_is_drawn_is_a_configuration(path: Path) -> None:
    """200 points, spread over the variants, with their conditions and bounds; every searched value moves."""
    experiments = loaded(path)
    for experiment in experiments.values():
        space, base = experiment.space(), experiment.base()
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        drawn = [space.suggest(study.ask(), base) for _ in range(-(-200 // len(experiments)))]
        for values in drawn:
            config = experiment.configure(values).model_dump()
            assert space.point(config) == values
        for parameter in space.parameters:
            assert len({values[parameter.path] for values in drawn if parameter.path in values}) > 1


@each_file
def test_the_journal_gives_what_was_drawn(path: Path, tmp_path: Path) -> None:
    for name, experiment in loaded(path).items():
        few = experiment.model_copy(update={"study": experiment.study.model_copy(update={"trials": 4})})
        study = create_study(tmp_path / f"run-{name}", few, RunHeader("run"))
        while (task := study.ask()) is not None:
            assert study.config_of(study.trials()[task.number]) == task.config
            study.fail(task.number, "was not trained", 1.0, "here")
        study.close()


@each_file
def test_the_header_has_commands_that_work_and_a_source(path: Path) -> None:
    header = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    commands = re.findall(r"^# +python launch\.py (.*)$", re.sub(r"\\\n# +", "", header), re.MULTILINE)
    searched = []
    for command in commands:
        verb, *words = shlex.split(re.split(r"  +", command)[0])
        for file in (word for word in words if word.endswith(".yaml") and not word.startswith("runs/")):
            searched.append(BY_NAME[Path(file).stem])
            load_experiment(searched[-1], [word for word in words if "=" in word] if verb != "evaluate" else [])
    assert path in searched, (
        f"{path.name}: its opening comment has no line `#   python launch.py search search_spaces/{path.name}`"
    )
    assert re.search("Source|Assumption|ours|our own", header), (
        f"{path.name}: its opening comment does not say where the numbers are from"
    )


def test_every_method_has_a_file_for_every_data_set_and_backbone() -> None:
    for method in METHODS:
        for data in DATA:
            for backbone in BACKBONES:
                trial = of(f"{method}_{data}", backbone).trial
                assert (trial.data.name, trial.backbone.name, trial.seed) == (data, backbone, 0)


@on_each_data_set
def test_the_protocol(data: str) -> None:
    """Objective, images a class of train_fullsup, and ImageNet's short training list, the same for every method; but
    for the ways of the released codes, see below."""
    for method in METHODS:
        for backbone in BACKBONES:
            experiment = of(f"{method}_{data}", backbone)
            settings = experiment.trial.data
            assert experiment.study.objectives == [
                f"train_fullsup/{'pxap' if data == 'openimages' else 'max_box_acc_v2'}"
            ]
            assert settings.fullsup_per_class == {"imagenet": 10, "cub": 5, "openimages": 5}[data]
            assert settings.subset_per_class == (128 if data == "imagenet" else None)
            assert experiment.study.trials == 30


def test_small_objects_have_an_objective_of_their_own() -> None:
    for name in ("cam_small_imagenet", "crop_small_imagenet"):
        assert {experiment.study.objective for experiment in loaded(BY_NAME[name]).values()} == {
            "train_fullsup/max_box_acc_by_size"
        }


@pytest.mark.parametrize(("data", "backbone"), SCRIPT, ids="-".join)
def test_both_published_settings_of_crop_cam_are_tried_first(data: str, backbone: str) -> None:
    experiment = of(f"crop_{data}", backbone)
    tried = [experiment.configure({**point.params, **point.extra}) for point in published_points(experiment)]
    numbers = [tuple(config.method.model_dump()[field] for field in CROP_FIELDS) for config in tried]
    script, rate = SCRIPT[data, backbone][:5], SCRIPT[data, backbone][5]
    assert numbers == list(dict.fromkeys([script, README[data, backbone]]))
    for config in tried:  # the whole network learns at ten times the rate of the script
        assert (config.optim.lr, config.optim.head_lr_scale) == (pytest.approx(10 * rate), 1)


@pytest.mark.parametrize(
    ("name", "backbone", "values"),
    [
        ("crop_da_imagenet", "resnet50", (0.8, 0.8, 0.2, 0.85, 0.1, 1.305290365e-5, 10)),
        ("crop_da_imagenet", "inception_v3", (0.3, 0.1, 0.6, 0.8, 0.8, 1.260374694e-3, 1)),
        ("crop_bridging_imagenet", "resnet50", (0.6, 1.0, 0.7, 0.85, 0.1, 3.397832054e-4, 1)),
        ("crop_bridging_imagenet", "vgg16", (1.0, 0.0, 0.4, 0.75, 1.0, 6.680514664e-4, 1)),
        ("crop_ivr_imagenet", "resnet50", (0.9, 0.1, 0.9, 0.15, 0.3, 3.108411e-4, 1)),
        ("crop_ivr_imagenet", "vgg16", (1.0, 0.0, 0.4, 0.75, 0.7, 6.680514664e-4, 1)),
        ("crop_ivr_imagenet", "inception_v3", (0.3, 0.1, 0.6, 0.8, 0.15, 1.260374694e-3, 1)),
    ],
)
def test_published_combinations_of_crop_cam(name: str, backbone: str, values: tuple[float, ...]) -> None:
    trial = of(name, backbone).trial
    method = trial.method.model_dump()
    assert (*(method[field] for field in CROP_FIELDS), trial.optim.lr, trial.optim.head_lr_scale) == values
    percentile = {"resnet50": 0.3, "vgg16": 0.2, "inception_v3": 0.4}[backbone]
    normalizer = (
        {"name": "ivr", "lower_percentile": percentile, "form": "paper"} if "ivr" in name else {"name": "min_max"}
    )
    assert method["normalizer"] == trial.evaluation.normalizer.model_dump() == normalizer


@pytest.mark.parametrize(
    ("name", "variant", "values"),
    [
        ("ts_cam_cub", "", (5e-5, 128, 60, {29: 1, 30: 0.1, 59: 0.1, 60: 0.01})),
        ("ts_cam_cub", "tiny", (5e-5, 128, 60, {30: 0.1})),
        ("ts_cam_imagenet", "", (5e-4, 256, 20, {9: 1, 10: 0.1, 11: 0.1, 12: 0.01, 19: 0.01, 20: 0.001})),
        ("ts_cam_imagenet", "tiny", (5e-4, 128, 20, {20: 0.001})),
        ("scm_cub", "", (5e-5, 256, 30, {29: 1, 30: 0.1})),
        ("scm_imagenet", "", (1e-6, 512, 20, {9: 1, 10: 0.1, 12: 0.01, 20: 0.001})),
        ("scm_imagenet", "base", (1e-6, 512, 10, {9: 1, 10: 0.1})),
    ],
)
def test_published_trainings_of_transformers_are_tried_first(name: str, variant: str, values: tuple[Any, ...]) -> None:
    experiment = loaded(BY_NAME[name])[variant]
    first = published_points(experiment)[0]
    trial = experiment.configure({**first.params, **first.extra})
    rates = {epoch: pytest.approx(decay(epoch, trial.optim)) for epoch in values[3]}
    assert (trial.optim.lr, trial.training.batch_size, trial.training.epochs, rates) == values
    assert trial.backbone.model_dump()["drop_path"] == 0.1
    optim = trial.optim
    assert (optim.optimizer, optim.weight_decay, optim.betas, optim.head_lr_scale) == ("adamw", 0.05, [0.9, 0.999], 1)


@each_file
def test_a_warm_start_is_the_run_of_a_shipped_file(path: Path) -> None:
    """Its default folder, of the same variant, data set and network; a frozen stage one is of the method that is
    expected."""
    for variant, experiment in loaded(path).items():
        if experiment.trial.initial_run is None:
            continue
        folder, name, *rest = experiment.trial.initial_run.replace("-", "/").split("/")
        start = load_experiment(BY_NAME[name], [f"variant={one}" for one in rest])
        assert (folder, [start.name]) == ("runs", [experiment.trial.initial_run.removeprefix("runs/")])
        trial = start.experiment.trial
        assert (trial.data.name, trial.backbone.name) == (
            experiment.trial.data.name,
            experiment.trial.backbone.name,
        ), variant
        if experiment.trial.method.needs_initial_run:
            assert experiment.trial.method.model_dump()["base"] == trial.method.model_dump()
        else:  # stage one of F-CAM is searched with backbone.stride=8
            assert experiment.trial.backbone.stride == trial.backbone.stride


def test_validate_prints_one_line_a_file_quickly() -> None:
    """It takes hardly more than reading the files does: seconds of this process, since others may be busy."""
    loaded(BY_NAME["methods_tiny_imagenet"]), loaded(BY_NAME["crop_ivr_cub"])
    started = time.process_time()
    for path in SHIPPED:
        load_variants(path)
    reading = time.process_time() - started
    result = CliRunner().invoke(cli.app, ["validate", *map(str, SHIPPED)])
    assert result.exit_code == 0
    assert [line.split(": ok, ")[0] for line in result.output.splitlines()] == [str(path) for path in SHIPPED]
    assert time.process_time() - started < 3 * reading


@each_file
def test_the_model_of_a_drawn_point_is_built(path: Path) -> None:
    """In its full size, as shapes without weights; the variants take turns."""
    experiments = list(loaded(path).values())
    experiment = experiments[SHIPPED.index(path) % len(experiments)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    config = experiment.configure(experiment.space().suggest(study.ask(), experiment.base()))
    with torch.device("meta"):
        method: Any = build.bare_method(config, CLASSES.get(config.data.name, 20))
    assert sum(p.numel() for group in method.parameter_groups() for p in group["params"]) > 0
