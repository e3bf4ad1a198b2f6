"""What the formats say of the same images is the same metadata, and the same score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.annotation_files import write_coco, write_voc, write_yolo
from tests.support.imported import NAMES, dataset, imported, photographs
from tests.support.mask_samples import metric
from wsol.baseline import center_gaussian, score_constant_map
from wsol.data import metadata
from wsol.data.metadata import FORMATS
from wsol.types import Annotation


def exported(name: str, folder: Path) -> dict[str, Any]:
    """The images in one of the formats; returns the settings that read it."""
    splits = photographs(folder)
    images = str(folder / "images")
    if name == "coco":
        files = {
            split: str(write_coco(folder / f"{split}.json", [data], NAMES, first=100 * number))
            for number, (split, data) in enumerate(splits.items())
        }
        return {"annotations": files["train"], "val": files["val"], "test": files["test"], "images": images}
    if name == "voc":
        lists = write_voc(folder / "VOC", splits, NAMES) / "ImageSets" / "Main"
        given = {split: str(lists / f"{split}.txt") for split in splits}
        return {"annotations": str(folder / "VOC" / "Annotations"), "images": images, **given}
    return {"annotations": str(write_yolo(folder, splits, NAMES) / "data.yaml"), "images": images}


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_the_metadata_is_that_of_the_data_set_that_was_exported(name: str, tmp_path: Path) -> None:
    lines = imported(name, tmp_path / "made", **exported(name, tmp_path))
    for split in ("train", "val", "test"):
        for file in FORMATS:
            ours, theirs = (tmp_path / place / split / file for place in ("made/metadata", "own"))
            assert ours.read_bytes() == theirs.read_bytes(), (split, file)
    assert dataset(tmp_path / "made").class_names == NAMES
    assert not [line for line in lines if line.startswith(("left out", "cut", "note"))]
    assert "splits: train 6, val 6, test 6 images; as listed" in lines


def test_masks_beside_the_boxes_leave_the_boxes_as_they_are(tmp_path: Path) -> None:
    settings = exported("coco", tmp_path)
    for path in (Path(settings[name]) for name in ("annotations", "val", "test")):
        content = json.loads(path.read_text())
        for found in content["annotations"]:
            left, top, width, height = found["bbox"]
            right, bottom = left + width, top + height
            found["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
        path.write_text(json.dumps(content))
    imported("coco", tmp_path / "made", **settings)
    for split in ("train", "val", "test"):
        for file in FORMATS:
            ours, theirs = (tmp_path / place / split / file for place in ("made/metadata", "own"))
            assert ours.read_bytes() == theirs.read_bytes(), (split, file)
    test = dataset(tmp_path / "made").split("test")
    assert test.metadata.boxes is not None and test.annotation(0, 32).mask is not None


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_the_score_is_that_of_the_data_set_that_was_exported(name: str, tmp_path: Path) -> None:
    imported(name, tmp_path / "made", **exported(name, tmp_path))
    bump = center_gaussian((64, 64), 8)
    scores = []
    for folder in (tmp_path / "made/metadata/test", tmp_path / "own/test"):
        data = metadata.read(folder, annotated=True)
        assert data.boxes is not None and data.sizes is not None
        annotations = [Annotation(tuple(size), boxes) for size, boxes in zip(data.sizes, data.boxes, strict=True)]
        scores.append(score_constant_map(bump, annotations, [metric("max_box_acc_v2"), metric("max_box_acc")]))
    assert scores[0] == scores[1] and 0 < scores[0]["max_box_acc_v2"] < 100


def test_boxes_and_classes_in_a_pool_are_drawn_alike_from_coco_and_voc(tmp_path: Path) -> None:
    """The draw depends on names, not on the order or the ids of a file."""
    splits = photographs(tmp_path)
    write_voc(tmp_path / "VOC", splits, NAMES)
    images = str(tmp_path / "images")
    pool = str(write_coco(tmp_path / "all.json", list(splits.values())[::-1], NAMES))
    imported("coco", tmp_path / "coco", annotations=pool, images=images, seed=4)
    imported("voc", tmp_path / "voc", annotations=str(tmp_path / "VOC" / "Annotations"), images=images, seed=4)
    for path in sorted((tmp_path / "coco" / "metadata").rglob("*.txt")):
        other = tmp_path / "voc" / path.relative_to(tmp_path / "coco")
        assert path.read_bytes() == other.read_bytes() and path.stat().st_size
    counts = [len(metadata.read(tmp_path / "coco/metadata" / split, annotated=False).image_ids) for split in splits]
    assert counts == [12, 2, 4] and np.sum(counts) == 18
