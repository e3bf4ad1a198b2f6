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
    *("crop_da", "crop_bridging", "crop_ivr"),
]
DATA = ["cub", "imagenet", "openimages"]
BACKBONES = ["resnet50", "vgg16", "inception_v3"]
CROP_FIELDS = ("positive_weight", "negative_weight", "classification_share", "crop_threshold", "max_crop_area")


def load(name: str, *variants: str) -> Experiment:
    chosen = [f"variant={','.join(variants)}"] if variants else []
    return load_experiment(ROOT / "search_spaces" / f"{name}.yaml", chosen).experiment


@cache
def variants_of(path: Path) -> list[str]:
    return list(load_variants(path)[1])


def head(path: Path) -> str:
    """The comment at the top of a file."""
    return "".join(takewhile(lambda line: line.startswith("#"), path.read_text().splitlines(keepends=True)))


SHORT_LIST = {
    *(("crop", backbone) for backbone in ("resnet50", "vgg16")),
    *(("crop_ivr", backbone) for backbone in ("resnet50", "vgg16")),
    *(("crop_bridging", backbone) for backbone in ("resnet50", "vgg16")),
    *(("crop_da", backbone) for backbone in BACKBONES),
}
"""Method and backbone whose released scripts train on ImageNet's short list."""
WAYS: dict[str, dict[str, Any]] = {
    "crop": {"method.box_union": "legacy", "method.slow": "stem_norm"},
    "crop_ivr": {"method.box_union": "legacy", "method.slow": "stem_norm", "method.normalizer.form": "crop_cam"},
    "crop_da": {"method.box_union": "legacy", "method.slow": "stem_norm", "training.checkpoint": "best"},
    "crop_bridging": {"method.box_union": "legacy", "method.slow": "last_stage", "training.checkpoint": "best"},
    "da": {"method.anchor_update": "image", "method.slow": "last_stage"},
    "bridging": {"training.checkpoint": "best", "evaluation.threshold_step": 0.005},
    "fcam": {"training.checkpoint": "best"},
}
"""What the released codes do, by method; of all others the last epoch counts."""


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
        if data == "imagenet" and (method, backbone) not in SHORT_LIST:
            expected.update({"data.subset_per_class": None, "data.subset_list": None})
        assert other.trial == own.configure(expected)
        best = {"fcam": "max_box_acc", "crop_da": "max_box_acc_v2/iou_50", "crop_bridging": "max_box_acc_v2/iou_50"}
        wanted = own.study.objective if data == "openimages" else f"train_fullsup/{best.get(method, 'max_box_acc_v2')}"
        assert other.study == own.study.model_copy(update={"objective": wanted})
        assert (other.search, other.post_hoc, other.points) == (own.search, own.post_hoc, own.points)


def test_every_file_of_published_data_says_how_the_released_code_differs() -> None:
    told = {path.stem for path in SHIPPED if "# How `variant=released` differs from the default: " in head(path)}
    assert told == {path.stem for path in SHIPPED if "released" in variants_of(path)}
    assert told >= {f"{method}_{data}" for method in METHODS for data in DATA}


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
