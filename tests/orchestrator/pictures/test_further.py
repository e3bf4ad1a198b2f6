"""What else a method shows of an image: drawn beside the winner's map, in the report and in TensorBoard; not scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.pictures.examples import Example, FurtherMap, SeenMap
from orchestrator.pictures.gallery import write_gallery
from orchestrator.pictures.looks import View
from orchestrator.pictures.overlays import Overlays
from orchestrator.report.page import write_report
from tests.support.finished_search import make_finished
from tests.support.tiny import TINY
from wsol import build
from wsol.config import TrainConfig
from wsol.data.images import ImageStore
from wsol.evaluation import further_maps
from wsol.method import Method

METRICS = {"max_box_acc_v2/threshold_50": 0.5}


def made(method: dict[str, Any]) -> tuple[TrainConfig, Method]:
    config = TrainConfig.model_validate({**TINY["trial"], "method": method})
    return config, build.method(config, 2)


@pytest.mark.parametrize("method", [{"name": "bridging_gap"}, {"name": "crop_cam", "base": {"name": "bridging_gap"}}])
def test_the_gallery_draws_them_of_the_winner(tmp_path: Path, method: dict[str, Any]) -> None:
    config, winner = made(method)
    other, rival = made({"name": "cam"})
    views = [View("winner", winner, config, METRICS), View("trial 3", rival, other, METRICS)]
    write_gallery(tmp_path / "examples.json", tmp_path / "images.csv", views, build.dataset(config.data))
    entries = json.loads((tmp_path / "examples.json").read_text())
    assert entries and all([one["label"] for one in entry["further"]] == ["norm", "similarity"] for entry in entries)
    files = [one["map"] for entry in entries for one in entry["further"]]
    assert len(set(files)) == len(files) and all((tmp_path / name).is_file() for name in files)


def test_most_methods_show_nothing_else(tmp_path: Path) -> None:
    config, winner = made({"name": "cam"})
    view = View("winner", winner, config, METRICS)
    write_gallery(tmp_path / "examples.json", tmp_path / "images.csv", [view], build.dataset(config.data))
    assert all(entry["further"] == [] for entry in json.loads((tmp_path / "examples.json").read_text()))
    assert not list((tmp_path / "examples").glob("*further*"))


def test_they_reach_from_zero_to_one_on_the_evaluation_grid_image_by_image() -> None:
    config, method = made({"name": "bridging_gap"})
    images = build.images(build.dataset(config.data), "train_fullsup", config.data)
    whole = list(further_maps(method, images, 3))
    assert len(whole) == len(images) and all(set(one) == {"norm", "similarity"} for one in whole)
    for shown in whole:
        assert all(one.shape == (32, 32) and (one.min(), one.max()) == (0, 1) for one in shown.values())
    some = ImageStore(images.split.only([5, 0]), images.size, config.data.model_copy(update={"cache": "off"}))
    for place, shown in zip([5, 0], further_maps(method, some, 64), strict=True):
        assert np.allclose(shown["norm"], whole[place]["norm"], atol=1e-6)


def test_tensorboard_has_them_beside_the_map_of_their_image() -> None:
    config, method = made({"name": "bridging_gap"})
    record = {"epoch": 1.0, **{f"train_fullsup/{name}": value for name, value in METRICS.items()}}
    names = [name for name, _, _ in Overlays([config])(method, record)]
    assert len(names) == 3 * 2 and [name.removeprefix(names[0]) for name in names[:3]] == ["", "/norm", "/similarity"]
    config, method = made({"name": "cam"})
    assert [name for name, _, _ in Overlays([config])(method, record)] == names[::3]


def test_the_report_names_them_and_embeds_all_pictures(tmp_path: Path) -> None:
    folder = make_finished(tmp_path / "run")
    listing = folder / "best" / "examples.json"
    entries = json.loads(listing.read_text())
    further = [{"label": "norm", "map": entries[1]["photo"]}, {"label": "<i>similarity", "map": entries[2]["photo"]}]
    entries[0]["further"] = further
    listing.write_text(json.dumps(entries))
    page = write_report(folder).read_text()
    assert page.count('src="data:image/jpeg;base64,') == 8 and 'alt="norm map"' in page
    assert "the winner's method shows norm, &lt;i&gt;similarity, each from its lowest" in page


def test_pictures_are_replaced_in_the_order_of_their_files() -> None:
    further, others = FurtherMap(label="norm", map="n"), SeenMap(label="trial 3", map="o", iou=0.1, threshold=0.2)
    own = {"photo": "p", "map": "m", "iou": 0.5, "threshold": 0.2}
    example = Example(image_id="a", class_name="gull", further=(further,), others=(others,), **own)
    assert example.with_files([name.upper() for name in example.files]).files == ["P", "M", "O", "N"]
