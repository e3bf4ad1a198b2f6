"""A search-space file for the user's own images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from orchestrator.experiment.load import load_experiment
from tests.support.coloured_images import COLOURS, write_images
from tests.support.small_archives import picture, put_files, put_metadata
from tests.support.tiny import Launch
from wsol.data.dataset import SPLIT_FOLDERS


def photos(folder: Path, *, masks: bool = False) -> None:
    """Two photographs in each split, one of a cat and one of a dog."""
    ids = {split: [f"{split}/cat/0.jpg", f"{split}/dog/1.jpg"] for split in SPLIT_FOLDERS.values()}
    put_metadata(folder / "metadata", ids, masks=masks)
    put_files(folder / "images", {name: picture() for names in ids.values() for name in names})


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_written_can_be_searched(launch: Launch) -> None:
    photos(Path("photos"))
    code, out, err = launch("init", "photos")
    assert code == 0, err
    assert "photos.yaml: 2 classes; 2 images with class labels to train on, 2 with boxes to choose by, 2 to test" in out
    assert launch("validate", "photos.yaml")[1] == "photos.yaml: ok, cam on folder, 2 searched values\n"
    experiment = load_experiment(Path("photos.yaml")).experiment
    assert experiment.trial.data.model_dump()["class_names"] == ["cat", "dog"]
    assert experiment.study.trials == 30 and experiment.study.sampler == "random"
    assert (experiment.search["optim.lr"].low, experiment.search["optim.lr"].high) == (1e-5, 1)
    for command in re.findall(r"python launch\.py (.*)", out):
        assert command.startswith("search photos.yaml")


def test_what_is_written_trains(launch: Launch) -> None:
    write_images(Path("photos"), [np.full((16, 16, 3), colour, np.uint8) for colour in COLOURS[:3]])
    assert launch("init", "photos")[0] == 0
    small = ["backbone={name: tiny, stride: 8, width: 4}", "data.image_size=16", "data.resize_size=16"]
    code, out, err = launch("train", "photos.yaml", *small, "training.epochs=1", "data.cache=off")
    assert code == 0 and "runs/photos/report.html" in out, err


def test_masks_are_scored_by_pixels(launch: Launch) -> None:
    photos(Path("masked"), masks=True)
    code, out, err = launch("init", "masked/")
    assert code == 0 and "2 with masks to choose by" in out, err
    experiment = load_experiment(Path("masked.yaml")).experiment
    assert experiment.study.objective == "train_fullsup/pxap"
    assert [metric.name for metric in experiment.trial.evaluation.metrics] == ["pxap", "piou", "pxap_by_size"]


def test_names_of_any_kind(launch: Launch) -> None:
    place = Path("my: {photos} #1")
    photos(place)
    code, out, err = launch("init", str(place))
    assert code == 0 and "search 'my: {photos} #1.yaml' --dry-run" in out, err
    data = load_experiment(Path(f"{place}.yaml")).experiment.trial.data.model_dump()
    assert data["images"] == str(place / "images") and data["metadata"] == str(place / "metadata")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/0.jpg", "a/1.jpg"], None),  # one folder for two classes
        (["0.jpg", "1.jpg"], None),
        (["a/0.jpg", "b/1.jpg"], ["a", "b"]),
    ],
)
def test_folders_name_the_classes_where_each_has_one(
    names: list[str], expected: list[str] | None, launch: Launch
) -> None:
    put_metadata(Path("photos"), dict.fromkeys(SPLIT_FOLDERS.values(), names))
    put_files(Path("photos"), {name: picture() for name in names})
    assert launch("init", "photos")[0] == 0
    assert load_experiment(Path("photos.yaml")).experiment.trial.data.model_dump()["class_names"] == expected


def test_what_cannot_be_searched_is_one_line(launch: Launch) -> None:
    def refused(*words: str) -> str:
        code, _, err = launch("init", *words)
        assert code == 2 and err.startswith("error: ") and len(err.splitlines()) == 1
        assert not list(Path().glob("*.yaml")) or "exists already" in err
        return err

    assert "gone: no such folder" in refused("gone")
    put_files(Path("bare"), {"cat/0.jpg": picture()})
    assert "bare: has no metadata: bare/metadata/train/image_ids.txt" in refused("bare")
    photos(Path("photos"))
    Path("photos/metadata/val/localization.txt").unlink()
    assert "photos/metadata/val/localization.txt" in refused("photos")
    photos(Path("photos"))
    Path("photos/images/train/cat/0.jpg").unlink()
    assert "neither images/train/cat/0.jpg nor train/cat/0.jpg is there" in refused("photos")
    photos(Path("photos"))
    assert launch("init", "photos")[0] == 0
    assert "photos.yaml: exists already" in refused("photos")


def test_imported_annotations(launch: Launch) -> None:
    """Names of classes stand beside the metadata, masks beside the images."""
    photos(Path("made"), masks=True)
    Path("made/metadata/class_names.txt").write_text("cat\ndog")
    put_files(Path("made/masks"), {"test/cat/0_m0.png": picture()})
    assert launch("init", "made")[0] == 0
    data = load_experiment(Path("made.yaml")).experiment.trial.data.model_dump()
    assert (data["masks"], data["class_names"]) == ("made/masks", None)
