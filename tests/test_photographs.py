"""The folder of photographs that the tutorial begins with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import photographs
from benchmarks.photographs import write_photographs
from tests.support.tiny import Launch
from wsol.errors import InputError


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small one."""
    monkeypatch.setattr(photographs, "PER_CLASS", 4)
    monkeypatch.setattr(photographs, "CLASSES", 2)
    write_photographs(tmp_path / "mine")
    return tmp_path / "mine"


def test_annotations_are_of_the_photographs(mine: Path) -> None:
    document = json.loads((mine / "instances.json").read_text())
    assert len(document["images"]) == 9 and len(document["annotations"]) == 10
    for image in document["images"]:
        with Image.open(mine / "photos" / image["file_name"]) as photo:
            assert photo.size == (image["width"], image["height"])
    sizes = {image["id"]: (image["width"], image["height"]) for image in document["images"]}
    for found in document["annotations"]:
        left, top, width, height = found["bbox"]
        assert 0 < left < left + width < sizes[found["image_id"]][0] and 0 < top < top + height < 96
    assert document["annotations"][-1]["bbox"][0] > 96, "the second object of the last photograph is in its right half"
    assert len(list((mine / "new").iterdir())) == 6


def test_boxes_are_those_of_the_objects(mine: Path) -> None:
    pixels, objects = next((pixels, objects) for _, pixels, objects in photographs.annotated())
    left, top, width, height = objects[0][1]
    shown = photographs.render(photographs.SCENE, photographs.ANNOTATED, 0, 0)
    rows, columns = np.nonzero(shown[1])
    assert (left, top, left + width - 1, top + height - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
    assert (pixels == shown[0]).all()


def test_the_folder_can_be_imported(mine: Path, launch: Launch) -> None:
    words = (f"annotations={mine}/instances.json", f"images={mine}/photos", "val=0.25", "test=0.25")
    code, out, err = launch("data", "prepare", "coco", *words, "--root", str(mine / "data"))
    assert code == 0, err
    assert "left out: 1 image with two classes or more (two_at_once.jpg)" in out
    assert "splits: train 4, val 2, test 2 images" in out


def test_nothing_is_written_over(mine: Path) -> None:
    with pytest.raises(InputError, match="is there already; choose another folder"):
        write_photographs(mine)
