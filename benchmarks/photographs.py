"""A folder as somebody might bring it, for the tutorial: photographs (rendered), what they show as COCO's instances
JSON, and a few new ones that nobody annotated.

python -m benchmarks.photographs DIR

Written: `DIR/photos/<class>/<number>.jpg`, `DIR/instances.json`, `DIR/new/<number>.jpg`. One photograph shows objects
of two classes, as happens in real folders.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsol.datasets.synthetic import Config, class_name, render
from wsol.errors import InputError

CLASSES, PER_CLASS, NEW_ONES, QUALITY = 4, 80, 6, 92
SCENE = Config(side=96, seed=7)
ANNOTATED, NEW = 0, 1
"""Parts of the rendering; no photograph is in both."""

Photograph = tuple[str, np.ndarray, list[tuple[int, tuple[int, int, int, int]]]]
"""Path, RGB pixels (H, W, 3) uint8, and label and COCO's box (left, top, width, height) of each object."""


def write_photographs(folder: Path) -> None:
    """Render all of it.

    Args:
        folder: is made; may exist without being written into.

    Raises:
        InputError: there is something already.
    """
    if folder.exists():
        raise InputError(f"{folder}: is there already; choose another folder, or delete it")
    document: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": 1 + label, "name": class_name(label)} for label in range(CLASSES)]
    for number, (name, pixels, objects) in enumerate(annotated(), start=1):
        _save(folder / "photos" / name, pixels)
        height, width = pixels.shape[:2]
        document["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for label, box in objects:
            key = 1 + len(document["annotations"])
            found = {"id": key, "image_id": number, "category_id": 1 + label, "bbox": box, "iscrowd": 0}
            document["annotations"].append(found)
    for number in range(NEW_ONES):
        _save(folder / "new" / f"{number}.jpg", render(SCENE, NEW, number % CLASSES, number)[0])
    (folder / "instances.json").write_text(json.dumps(document), encoding="utf-8")


def annotated() -> Iterator[Photograph]:
    """One after the other; the last one shows two objects of different classes."""
    for label in range(CLASSES):
        for index in range(PER_CLASS):
            pixels, mask = render(SCENE, ANNOTATED, label, index)
            yield f"{class_name(label).replace(' ', '_')}/{index:02}.jpg", pixels, [(label, _box(mask))]
    halves = [render(SCENE, ANNOTATED, label, PER_CLASS) for label in (0, 1)]
    boxes = [(label, _box(mask, left=label * SCENE.side)) for label, (_, mask) in enumerate(halves)]
    yield "two_at_once.jpg", np.hstack([pixels for pixels, _ in halves]), boxes


def _box(mask: np.ndarray, left: int = 0) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, y0 = int(columns[0]), int(rows[0])
    return left + x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=QUALITY)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.photographs DIR")
    try:
        write_photographs(Path(sys.argv[1]))
    except InputError as error:
        sys.exit(f"error: {error}")
    photographs = f"{CLASSES * PER_CLASS + 1} photographs of {CLASSES} classes"
    print(f"{sys.argv[1]}: {photographs}, instances.json, {NEW_ONES} new ones")
