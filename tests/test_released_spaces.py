"""The variants `released` of the shipped search spaces, and what the heads of the files say of them and of symbols."""

from __future__ import annotations

import re
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment.load import load_experiment, load_variants
from orchestrator.experiment.model import Experiment
from tests.support.paths import ROOT

SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))
METHODS = [
    *("cam", "has", "acol", "spg", "adl", "cutmix", "tap", "bridging", "da", "fcam", "crop"),
    *("crop_da", "crop_bridging", "crop_ivr", "bagcams", "normalizers"),
]
DATA = ["cub", "imagenet", "openimages"]
BACKBONES = ["resnet50", "vgg16", "inception_v3"]
CROP_FIELDS = ("positive_weight", "negative_weight", "classification_share", "crop_threshold", "max_crop_area")


@cache
def load(name: str, *variants: str) -> Experiment:
    chosen = [f"variant={','.join(variants)}"] if variants else []
    return load_experiment(ROOT / "search_spaces" / f"{name}.yaml", chosen).experiment


@cache
def variants_of(path: Path) -> list[str]:
    return list(load_variants(path)[1])


def head(path: Path) -> str:
    """The comment at the top of a file."""
    return "".join(takewhile(lambda line: line.startswith("#"), path.read_text().splitlines(keepends=True)))


def prose(path: Path) -> str:
    """The comment at the top of a file as one line."""
    return " ".join(head(path).replace("\n#", "").split())


SHORT_LIST = {
    *(("crop", backbone) for backbone in ("resnet50", "vgg16")),
    *(("crop_ivr", backbone) for backbone in ("resnet50", "vgg16")),
    *((method, backbone) for method in ("crop_bridging", "crop_da") for backbone in BACKBONES),
}
"""Method and backbone whose released scripts train on ImageNet's short list, or all scripts of the method do."""
ALL_SCORED = {"data.fullsup_per_class": None}
CROP = {**ALL_SCORED, "method.box_union": "legacy", "method.slow": "stem_norm"}
DA = {**ALL_SCORED, "method.anchor_update": "image", "method.slow": "last_stage", "seed": 4}
WAYS: dict[str, dict[str, Any]] = {
    "crop": CROP,
    "crop_ivr": {**CROP, "method.normalizer.form": "crop_cam"},
    "crop_da": {**CROP, "training.checkpoint": "best"},
    "crop_bridging": {**CROP, "method.slow": "last_stage", "training.checkpoint": "best"},
    "da": DA,
    "bagcams": DA,
    "bridging": {**ALL_SCORED, "training.checkpoint": "best", "evaluation.threshold_step": 0.005},
    "fcam": {**ALL_SCORED, "training.checkpoint": "best"},
    "normalizers": {"evaluation.normalizer": {"name": "ivr", "lower_percentile": 0.45}},
}
"""What the released codes do, by method; of all others the last epoch counts."""
BAG_CAMS_BLOCK = {"resnet50": "layer3", "vgg16": "conv5", "inception_v3": "mixed_6e"}
TRANSFORMERS = {"ts_cam": ("tiny", "base"), "scm": ("base",)}
"""Method -> its variants of other sizes, where the file has them."""


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", METHODS)
def test_the_way_of_the_released_code(method: str, data: str) -> None:
    """Each setting, with every backbone, and nothing else."""
    for backbone in BACKBONES:
        network = () if backbone == "resnet50" else (backbone,)
        own, other = load(f"{method}_{data}", *network), load(f"{method}_{data}", *network, "released")
        expected = {"training.checkpoint": "last", "training.precision": "fp32", **WAYS.get(method, {})}
        if (method, data) == ("crop_da", "imagenet"):
            del expected["method.slow"]  # its script alone has two rates
        if method == "bagcams":
            expected["evaluation.extractor"] = {"name": "bag_cams", "block": BAG_CAMS_BLOCK[backbone]}
            expected["evaluation.interpolation"] = "bilinear"
        if data == "imagenet" and (method, backbone) not in SHORT_LIST:
            expected.update({"data.subset_per_class": None, "data.subset_list": None})
        assert other.trial == own.configure(expected)
        best = {"fcam": "max_box_acc", "crop_da": "max_box_acc_v2/iou_50", "crop_bridging": "max_box_acc_v2/iou_50"}
        wanted = own.study.objective if data == "openimages" else f"train_fullsup/{best.get(method, 'max_box_acc_v2')}"
        assert other.study == own.study.model_copy(update={"objective": wanted})
        assert (other.search, other.post_hoc, other.points) == (own.search, own.post_hoc, own.points)


@pytest.mark.parametrize("method", TRANSFORMERS)
def test_the_way_of_the_released_transformers(method: str) -> None:
    for data in ("cub", "imagenet"):
        there = {*TRANSFORMERS[method], ""} & {*variants_of(ROOT / "search_spaces" / f"{method}_{data}.yaml"), ""}
        for size in there:
            chosen = [size] if size else []
            own, other = load(f"{method}_{data}", *chosen), load(f"{method}_{data}", *chosen, "released")
            expected: dict[str, Any] = {"training.checkpoint": "last", "training.precision": "fp32"}
            expected["evaluation.interpolation"] = "bilinear"
            expected |= {"seed": 26} if method == "ts_cam" else {"evaluation.threshold_step": 0.01}
            if data == "imagenet":
                expected |= {"data.subset_per_class": None, "data.subset_list": None}
            assert other == own.model_copy(update={"trial": own.configure(expected)})


@pytest.mark.parametrize("path", [*ROOT.glob("search_spaces/ts_cam_*.yaml"), *ROOT.glob("search_spaces/scm_*.yaml")])
def test_what_of_a_released_code_cannot_be_repeated_is_said(path: Path) -> None:
    """Of transformers as of TAP: the epoch that was best on test."""
    assert "Not reproduced: the published run took the epoch" in prose(path)


@pytest.mark.parametrize("data", DATA)
def test_stage_one_of_the_released_f_cam_has_a_command(data: str) -> None:
    """With the decoder's maps and selection, in the folder that it starts from; the learning rate is published for
    CUB."""
    text = prose(ROOT / "search_spaces" / f"fcam_{data}.yaml").replace("\\ ", "")
    (words,) = re.findall(
        rf"train search_spaces/cam_{data}\.yaml (variant=released [^#]*?) --run runs/cam_{data} ", text
    )
    stage = load_experiment(ROOT / "search_spaces" / f"cam_{data}.yaml", words.split()).experiment
    own, decoder = load(f"cam_{data}", "released"), load(f"fcam_{data}", "released")
    expected = {"training.checkpoint": "best", "data.fullsup_per_class": None, "backbone.stride": 8}
    if data == "cub":
        expected["optim.lr"] = 0.0017
    assert stage.trial == own.configure(expected) and stage.trial.backbone == decoder.trial.backbone
    assert stage.study.objective == decoder.study.objective


def test_only_what_was_released_says_how_its_epoch_was_chosen() -> None:
    """Candidates of Bridging are published for CUB alone, the released run of TAP is on CUB with VGG-16."""
    for method, said in (("bridging", "every fifth epoch"), ("tap", "the published run took")):
        assert [data for data in DATA if said in prose(ROOT / "search_spaces" / f"{method}_{data}.yaml")] == ["cub"]


def test_every_published_area_of_the_pasted_box_is_chosen_from() -> None:
    """Whatever is published for any backbone and data set is chosen from for all of them."""
    published = set()
    for name in (f"{method}_{data}" for method in METHODS if method.startswith("crop") for data in DATA):
        own, variants = load_variants(ROOT / "search_spaces" / f"{name}.yaml")
        for experiment in (own, *variants.values()):
            for values in ({}, *(point.values for point in experiment.points)):
                published.add(experiment.configure(values).method.model_dump()["max_crop_area"])
    assert published == set(load("crop_cub").post_hoc["method.max_crop_area"])


def test_every_file_of_published_data_says_how_the_released_code_differs() -> None:
    told = {path.stem for path in SHIPPED if "# How `variant=released` differs from the default: " in head(path)}
    assert told == {path.stem for path in SHIPPED if "released" in variants_of(path)}
    assert told >= {f"{method}_{data}" for method in METHODS for data in DATA}
    assert told >= {f"{method}_{data}" for method in TRANSFORMERS for data in ("cub", "imagenet")}


@pytest.mark.parametrize(
    ("said", "path", "values"),
    [
        ("all images of train_fullsup are scored", "data.fullsup_per_class", {None}),
        ("seed", "seed", {4, 26}),
        ("BagCAMs at", "evaluation.extractor.name", {"bag_cams"}),
        ("enlarged bilinearly", "evaluation.interpolation", {"bilinear"}),
        ("IVR of 0.45", "evaluation.normalizer.lower_percentile", {0.45}),
        ("100 score thresholds", "evaluation.threshold_step", {0.01}),
        ("200 score thresholds", "evaluation.threshold_step", {0.005}),
        ("training uses all images", "data.subset_per_class", {None}),
    ],
)
def test_the_head_says_it_exactly_where_released_does_it(said: str, path: str, values: set[Any]) -> None:
    for file in SHIPPED:
        if "released" in variants_of(file) and "few_shot" not in file.stem:  # it trains on train_fullsup
            own, other = (flat(load(file.stem, *chosen).trial.model_dump()) for chosen in ((), ("released",)))
            told = prose(file).partition("How `variant=released` differs from the default: ")[2]
            does = path in other and other[path] in values and own.get(path) != other[path]
            assert (said in told) == does, file.stem


def flat(values: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Dotted path -> value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{place}{key}.") if isinstance(value, dict) else {f"{place}{key}": value}
    return found


SYMBOLS = {"λ1": CROP_FIELDS[0], "λ2": CROP_FIELDS[1], "λ3": CROP_FIELDS[2], "τ": CROP_FIELDS[3], "ν": CROP_FIELDS[4]}


@pytest.mark.parametrize("path", sorted(ROOT.glob("search_spaces/crop_*.yaml")), ids=lambda path: path.stem)
def test_the_head_of_a_crop_file_has_the_symbols_with_their_fields_and_ranges(path: Path) -> None:
    experiment, wanted = load(path.stem), []
    for symbol, field in {**SYMBOLS, "p": "normalizer.lower_percentile"}.items():
        key = f"method.{field}"
        if (searched := experiment.search.get(key)) is not None:
            wanted.append((symbol, key, f"{searched.low:g} to {searched.high:g} in steps of {searched.step:g}"))
        elif key in experiment.post_hoc:
            values = ", ".join(f"{value:g}" for value in experiment.post_hoc[key])
            wanted.append((symbol, key, f"one of {values}; chosen after training"))
    rows = re.findall(r"^#   (\S+) +(method\.\S+) +(.*)$", head(path), re.MULTILINE)
    assert len(wanted) == 5 + ("ivr" in path.stem) and sorted(rows) == sorted(wanted)
