"""Which pictures are shown, how surely the winner is first, and the files that a finished run leaves of both."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.pictures.choice import PER_TAB, choose_images, take_in_turn
from orchestrator.pictures.drawing import shrunk_region
from orchestrator.pictures.gallery import write_gallery
from orchestrator.pictures.looks import View, look_at
from orchestrator.report.page import write_report
from orchestrator.runs.header import RunHeader
from orchestrator.runs.journal import open_study
from orchestrator.runs.result import ScoredSetting
from orchestrator.study.begin import create_study
from orchestrator.winner.finish import finish_search
from orchestrator.winner.measure import measure, other_settings
from orchestrator.winner.rivals import shares_of_first
from tests.support.tiny import OBJECTIVE, TINY
from wsol import build
from wsol.config import TrainConfig
from wsol.data.dataset import Dataset, Split
from wsol.data.images import ImageStore
from wsol.data.metadata import Metadata
from wsol.training import train


def test_tabs_hold_hits_misses_small_objects_and_disagreements() -> None:
    winner = [0.9, 0.5, 0.49, 0.0, 0.7]
    tabs = choose_images([winner, [0.9, 0.1, 0.5, 0.0, 0.6]], sizes=[50, 1, 30, 2, 10])
    assert tabs == {
        "hits": [0, 4, 1],
        "misses": [2, 3],
        "small": [1, 3, 4, 2, 0],
        "disagreements": [1, 4, 2],
        "sizes": [1, 3, 4, 2, 0],
    }
    assert "disagreements" not in choose_images([winner], [1] * 5) and "misses" not in choose_images([[1.0]], [1])


def test_long_tabs_go_evenly_from_the_best_to_the_worst() -> None:
    overlaps = np.linspace(1.0, 0.5, 100).tolist()
    hits = choose_images([overlaps], [5.0] * 100)["hits"]
    assert len(hits) == PER_TAB and hits[0] == 0 and hits[-1] == 99 and set(np.diff(hits)) <= {9}


def test_some_images_are_the_same_in_every_run_from_small_to_large_objects() -> None:
    sizes = [float(size) for size in range(100, 0, -1)]
    tabs = [choose_images([np.random.default_rng(run).random(100).tolist()], sizes)["sizes"] for run in range(2)]
    assert tabs[0] == tabs[1] == [99, 79, 59, 40, 20, 0]


def test_a_beginning_has_something_of_every_tab() -> None:
    assert take_in_turn([[1, 2, 3], [4], [1, 5]]) == [1, 4, 2, 5, 3]


def test_shares_of_first() -> None:
    replicates = [np.array([3.0, 1.0, 2.0, 5.0, np.nan]), np.array([1.0, 2.0, 2.0, 4.0, 1.0])]
    assert shares_of_first(replicates) == [2.5 / 4, 1.5 / 4]
    assert shares_of_first([np.array([np.nan]), np.array([1.0])]) == [0.0, 0.0]


def test_boxes_shrink_with_their_picture() -> None:
    assert shrunk_region(np.array([10, 20, 448, 448]), 512, 256).tolist() == [5, 10, 224, 224]
    assert shrunk_region(np.array([10, 20]), 100, 256).tolist() == [10, 20]
    mask = np.zeros((512, 512), bool)
    mask[:256] = True
    assert shrunk_region(mask, 512, 256).sum() == 128 * 256


def test_a_search_shows_rivals_and_settings_and_how_surely_it_won(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    post_hoc = {"evaluation.normalizer": [{"name": "min_max"}, {"name": "pas", "percentile": 60.0}]}
    of = Experiment.model_validate({**TINY, "post_hoc": post_hoc})
    folder = tmp_path / "run"
    study = create_study(folder, of, RunHeader("run", objective=OBJECTIVE))
    while task := study.ask():
        study.complete(task.number, train(task.config, task.folder, task.objective), 1.0, "here:1")
    result = finish_search(study, folder, measure, test=False)
    study.close()
    assert result is not None
    others = {str(trial.number) for trial in open_study(folder).trials} - {str(result.trial)}
    assert result.first is not None and set(result.first) == {"winner", *others}
    assert sum(result.first.values()) == pytest.approx(1)
    entries = json.loads((folder / "best" / "examples.json").read_text())
    assert {other["label"] for other in entries[0]["others"]} >= {f"trial {number}" for number in others}
    assert len(entries[0]["others"]) == 3
    rows = list(csv.DictReader((folder / "best" / "images.csv").open()))
    assert len(rows) == 8 and {entry["image_id"] for entry in entries} <= {row["image_id"] for row in rows}
    assert any({"hits", "misses"} & set(entry["tabs"]) for entry in entries)
    assert all(
        (entry["iou"] >= 0.5) == ("hits" in entry["tabs"])
        for entry in entries
        if {"hits", "misses"} & set(entry["tabs"])
    )
    page = write_report(folder).read_text()
    assert "bootstrap draws of the images of train_fullsup it is first in" in page and "plot-sizes" in page


def test_without_a_threshold_there_are_no_pictures(tmp_path: Path) -> None:
    config = TrainConfig.model_validate(TINY["trial"])
    dataset = build.dataset(config.data)
    method = build.method(config, dataset.num_classes)
    write_gallery(
        tmp_path / "examples.json", tmp_path / "images.csv", [View("winner", method, config, {"pxap": 50.0})], dataset
    )
    assert list(tmp_path.iterdir()) == []


def test_masks_are_looked_at_as_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images, annotated with masks: the upper half of each image."""
    monkeypatch.chdir(tmp_path)
    config = TrainConfig.model_validate(TINY["trial"])
    dataset = build.dataset(config.data)
    method = build.method(config, dataset.num_classes)
    mask = np.zeros((32, 32), np.uint8)
    mask[:16], mask[16:20] = 1, 255
    monkeypatch.setattr(Split, "_mask", lambda self, position, grid: mask)
    split = dataset.split
    monkeypatch.setattr(Dataset, "split", lambda self, name: _with_masks(split(name)))
    images = ImageStore(dataset.split("train_fullsup"), 32, config.data)
    looks = look_at(View("winner", method, config, {"piou/threshold": 0.0}), images)
    assert len(looks) == len(images)
    assert all(
        look.size == 50 and look.region.sum() == 28 * 32 and look.iou == pytest.approx(16 / 28) for look in looks
    )
    write_gallery(
        tmp_path / "examples.json",
        tmp_path / "images.csv",
        [View("winner", method, config, {"piou/threshold": 0.5})],
        dataset,
    )
    assert json.loads((tmp_path / "examples.json").read_text())[0]["size"] == 50


def test_pictures_take_the_place_of_a_link_and_leave_what_it_points_to(tmp_path: Path) -> None:
    config = TrainConfig.model_validate(TINY["trial"])
    dataset = build.dataset(config.data)
    view = View("winner", build.method(config, dataset.num_classes), config, {"max_box_acc_v2/threshold_50": 0.5})
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "0000-photo.jpg").write_text("precious")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "examples").symlink_to(tmp_path / "precious")
    for _ in range(2):  # the second time over the first one's
        write_gallery(tmp_path / "best" / "examples.json", tmp_path / "best" / "images.csv", [view], dataset)
    assert [file.read_text() for file in (tmp_path / "precious").iterdir()] == ["precious"]
    assert not (tmp_path / "best" / "examples").is_symlink()
    assert {path.name for path in (tmp_path / "best").iterdir()} == {"examples", "examples.json", "images.csv"}
    named = {entry["map"] for entry in json.loads((tmp_path / "best" / "examples.json").read_text())}
    assert named and all((tmp_path / "best" / name).is_file() for name in named)


def _with_masks(split: Split) -> Split:
    data = split.metadata
    masks = tuple(((), "") for _ in data.image_ids)
    plain = Metadata(data.folder, data.image_ids, data.labels, sizes=None, boxes=None, masks=masks)
    return Split(split.name, plain, split.image_root, split.mask_root, split.key)


def scored(post_hoc: dict[str, list[Any]], values: list[float]) -> list[ScoredSetting]:
    own = TrainConfig.model_validate(TINY["trial"])
    settings = post_hoc_settings(own, post_hoc)
    return [
        ScoredSetting(changed, {"metric": value}, config)
        for (changed, config), value in zip(settings, values, strict=True)
    ]


def test_other_settings_are_the_best_of_each_further_extractor() -> None:
    extractors = [
        {"name": "pcs", "block": "b"},
        {"name": "pcs", "block": "c"},
        {"name": "layer_cam", "block": "b"},
        {"name": "bag_cams", "block": "b"},
    ]
    settings = scored({"evaluation.extractor": extractors}, [1.0, 9.0, 8.0, 5.0, 7.0])
    chosen = other_settings(settings[1].config, settings, "metric")
    assert chosen == [settings[4], settings[3]]  # not another block of pcs
    normalizers = [{"name": "max"}, {"name": "pas", "percentile": 60.0}]
    alike = scored({"evaluation.normalizer": normalizers}, [9.0, 5.0, 7.0])
    assert other_settings(alike[0].config, alike, "metric") == [alike[2], alike[1]]
