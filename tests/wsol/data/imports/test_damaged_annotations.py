"""Hundreds of damaged files of annotations: each is read, or refused with words that begin with the file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.annotation_files import write_coco, write_voc, write_yolo
from tests.support.damage import damaged
from tests.support.imported import NAMES, photographs
from wsol.data.imports import making, selecting
from wsol.data.imports.left_out import LeftOut
from wsol.errors import InputError


def settings(name: str, folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """The settings that read a few images in one of the formats, and the files that are damaged."""
    splits = photographs(folder)
    images = str(folder / "images")
    if name == "coco":
        path = write_coco(folder / "i.json", list(splits.values()), NAMES)
        path.write_text(path.read_text().replace('"segmentation": []', '"segmentation": [[1, 1, 9, 1, 9, 9]]'))
        return {"annotations": str(path), "images": images}, [path]
    if name == "voc":
        write_voc(folder / "VOC", {"train": splits["train"]}, NAMES)
        where = folder / "VOC" / "Annotations"
        return {"annotations": str(where), "images": images}, sorted(where.rglob("*.xml"))
    path = write_yolo(folder, splits, NAMES) / "data.yaml"
    return {"annotations": str(path), "images": images}, [path, *sorted((folder / "labels").rglob("*.txt"))[:3]]


@pytest.mark.parametrize("name", making.FORMATS)
def test_damaged_annotations_are_read_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, files = settings(name, tmp_path)
    monkeypatch.setattr(selecting, "_measured", lambda path, listed: listed.size or (40, 30))
    draw, refused = random.Random(name), 0
    for number in range(120):
        path = files[number % len(files)]
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, draw))
        try:
            source = making.reader(name).read(making.reader(name).Config(**given))
            for chosen in selecting.select(source, LeftOut(), lambda line: None):
                assert chosen.boxes.shape[1] == 4 and (chosen.boxes >= 0).all()
        except InputError as error:
            refused += 1
            assert str(error).startswith((f"{tmp_path}/", "no image is left")), error
            assert "\n" not in str(error) or "no image is left" in str(error)
        path.write_bytes(whole)
    assert 20 < refused < 120
