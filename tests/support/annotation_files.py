"""Writers of other people's formats, for the tests of what reads them: each as its specification says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from wsol.data.metadata import Metadata

FIRST_ID = 7
"""Ids of categories are arbitrary: these are 7, 10, 13, ..."""


def instances(splits: list[Metadata], names: list[str], first: int = 100) -> dict[str, Any]:
    """The content of an instances JSON: boxes from the upper left corner of their first pixel, with sizes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for data in splits:
        assert data.sizes is not None and data.boxes is not None
        for name, label, (width, height), boxes in zip(
            data.image_ids, data.labels.tolist(), data.sizes.tolist(), data.boxes, strict=True
        ):
            images.append({"id": first + len(images), "file_name": name, "width": width, "height": height})
            for x0, y0, x1, y1 in boxes.tolist():
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": images[-1]["id"],
                        "category_id": FIRST_ID + 3 * label,
                        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                        "area": (x1 - x0 + 1) * (y1 - y0 + 1),
                        "iscrowd": 0,
                        "segmentation": [],
                    }
                )
    categories = [
        {"id": FIRST_ID + 3 * label, "name": name, "supercategory": "bird"} for label, name in enumerate(names)
    ]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def write_coco(path: Path, splits: list[Metadata], names: list[str], first: int = 100) -> Path:
    """An instances JSON of some splits; ids of images count from `first`."""
    path.write_text(json.dumps(instances(splits, names, first)))
    return path


def voc_xml(name: str, size: tuple[int, int], objects: list[Mapping[str, Any]]) -> str:
    """An annotation of VOC. An object has `name`, `box` (inclusive corners, from 0) and what else VOC says of it."""
    tree = ET.Element("annotation")
    for tag, text in (("folder", "VOC"), ("filename", name.rpartition("/")[2]), ("segmented", "0")):
        ET.SubElement(tree, tag).text = text
    sides = ET.SubElement(tree, "size")
    for tag, side in zip(("width", "height", "depth"), (*size, 3), strict=True):
        ET.SubElement(sides, tag).text = str(side)
    for found in objects:
        part = ET.SubElement(tree, "object")
        for tag, text in ({"pose": "Unspecified", "truncated": "0", "difficult": "0"} | dict(found)).items():
            if tag != "box":
                ET.SubElement(part, tag).text = str(text)
        box = ET.SubElement(part, "bndbox")
        for tag, corner in zip(("xmin", "ymin", "xmax", "ymax"), found["box"], strict=True):
            ET.SubElement(box, tag).text = str(corner + 1)
    return ET.tostring(tree, encoding="unicode")


def write_voc(root: Path, splits: Mapping[str, Metadata], names: list[str]) -> Path:
    """`Annotations`, and the list of each split in `ImageSets/Main`."""
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, data in splits.items():
        assert data.sizes is not None and data.boxes is not None
        stems = [name.rpartition(".")[0] for name in data.image_ids]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for index, (stem, name) in enumerate(zip(stems, data.image_ids, strict=True)):
            label, (width, height) = int(data.labels[index]), data.sizes[index].tolist()
            objects = [{"name": names[label], "box": box} for box in data.boxes[index].tolist()]
            path = root / "Annotations" / f"{stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(voc_xml(name, (width, height), objects))
    return root


def write_yolo(root: Path, splits: Mapping[str, Metadata], names: list[str]) -> Path:
    """A text file an image, a list of each split, and `data.yaml`, for images that are in `root/images`."""
    lines = [f"{split}: {split}.txt" for split in splits] + ["names:"]
    (root / "data.yaml").write_text("\n".join([*lines, *(f"  {k}: {json.dumps(n)}" for k, n in enumerate(names))]))
    for split, data in splits.items():
        assert data.sizes is not None and data.boxes is not None
        (root / f"{split}.txt").write_text("\n".join(f"./images/{name}" for name in data.image_ids))
        for index, name in enumerate(data.image_ids):
            width, height = data.sizes[index].tolist()
            path = root / "labels" / Path(name).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                "".join(
                    f"{data.labels[index]} {(x0 + x1 + 1) / 2 / width:.6f} {(y0 + y1 + 1) / 2 / height:.6f}"
                    f" {(x1 - x0 + 1) / width:.6f} {(y1 - y0 + 1) / height:.6f}\n"
                    for x0, y0, x1, y1 in data.boxes[index].tolist()
                )
            )
    return root
