"""Small photographs of two classes with boxes, and what importing annotations of them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsol import plugins
from wsol.data import metadata
from wsol.data.dataset import Dataset
from wsol.data.imports.making import make, reader
from wsol.data.metadata import Metadata

NAMES = ["cat", "dog"]
SIZE = (40, 30)


def photograph(path: Path, size: tuple[int, int] = SIZE, **saved: Any) -> None:
    """A file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, **saved)


def photographs(folder: Path) -> dict[str, Metadata]:
    """Three images of each class in each split, of several sizes, below `images` of a folder; odd ones have two boxes,
    and boxes touch all edges."""
    splits = {}
    for number, split in enumerate(("train", "val", "test")):
        ids = [f"{name}/{split}_{index}.jpg" for name in NAMES for index in range(3)]
        sizes = [(40 + number, 30 + index) for index in range(len(ids))]
        boxes = []
        for index, (name, (width, height)) in enumerate(zip(ids, sizes, strict=True)):
            photograph(folder / "images" / name, (width, height))
            whole, pixel = [0, 0, width - 1, height - 1], [index, 7, index, 7]
            boxes.append(np.array([whole, pixel] if index % 2 else [[3, 2 + index, width - 1, 11 + index]]))
        labels = np.repeat(np.arange(len(NAMES)), 3)
        splits[split] = Metadata(folder, tuple(ids), labels, np.array(sizes), tuple(boxes), None)
        metadata.write(folder / "own" / split, splits[split])
    return splits


def imported(name: str, root: Path, **settings: Any) -> list[str]:
    """The lines that importing says."""
    lines: list[str] = []
    make(name, reader(name).Config(**settings), root, lines.append)
    return lines


def dataset(root: Path) -> Dataset:
    """What was made."""
    plugin = plugins.load("dataset", "folder")
    built: Dataset = plugin.build(plugin.Config(root=str(root)))
    return built


class Coco:
    """An instances JSON that grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 5, "name": "fish"}],
        }

    def add(self, name: str, *objects: dict[str, Any], size: tuple[int, int] = SIZE, file: str | None = "") -> None:
        """An image with its annotations, of cats unless they say otherwise; `file`: another name, or None for none."""
        if file is not None:
            photograph(self.folder / "photos" / (file or name))
        number = len(self.content["images"]) + 1
        self.content["images"].append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for found in objects:
            whole = {"id": len(self.content["annotations"]), "image_id": number, "category_id": 3, "iscrowd": 0}
            self.content["annotations"].append(whole | found)

    def several(self, count: int = 4) -> Coco:
        """Images of cats and of dogs, with a box each, enough for all splits."""
        for index in range(count):
            self.add(f"cat{index}.png", {"bbox": [2, 3, 10, 8]})
            self.add(f"dog{index}.png", {"bbox": [2, 3, 10, 8], "category_id": 90})
        return self

    def settings(self, **more: Any) -> dict[str, Any]:
        """The settings that read it; the file is written."""
        path = self.folder / "i.json"
        path.write_text(json.dumps(self.content))
        return {"annotations": str(path), "images": str(self.folder / "photos"), "val": 0.25, "test": 0.25, **more}

    def make(self, **more: Any) -> list[str]:
        """Import it to `made`; returns what was said."""
        return imported("coco", self.folder / "made", **self.settings(**more))

    def boxes(self) -> dict[str, list[list[int]]]:
        """Image -> boxes, of all splits of what was made."""
        found = {}
        for split in ("train", "val", "test"):
            data = metadata.read(self.folder / "made" / "metadata" / split, annotated=True)
            assert data.boxes is not None
            found |= {name: boxes.tolist() for name, boxes in zip(data.image_ids, data.boxes, strict=True)}
        return found
