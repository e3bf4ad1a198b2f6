"""Small data sets of YOLO, and the boxes of what was made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.imported import SIZE, photograph
from wsol.data import metadata

WIDTH, HEIGHT = SIZE
ROW = f"{7 / WIDTH} {7 / HEIGHT} {10 / WIDTH} {8 / HEIGHT}"
"""The pixels 2 to 11 across and 3 to 10 down."""


def ultralytics(root: Path, *splits: str, names: str = "names: [cat, dog]") -> dict[str, Any]:
    """`images/<split>`, `labels/<split>` and `data.yaml`: three images of each class in each split."""
    for split in splits:
        for index in range(6):
            photograph(root / "images" / split / f"{index}.png")
            label = root / "labels" / split / f"{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{index % 2} {ROW}\n")
    (root / "data.yaml").write_text("\n".join([*(f"{split}: images/{split}" for split in splits), names]))
    return {"annotations": str(root / "data.yaml")}


def flat(root: Path) -> dict[str, Any]:
    """A folder of images, a folder of text files with the names of the classes among them."""
    ultralytics(root, "")
    (root / "labels" / "classes.txt").write_text("cat \ndog\n")
    return {"annotations": str(root / "labels"), "images": str(root / "images"), "val": 0.3, "test": 0.3}


def boxes(root: Path, split: str) -> dict[str, list[list[int]]]:
    data = metadata.read(root / "metadata" / split, annotated=True)
    assert data.boxes is not None
    return {name: found.tolist() for name, found in zip(data.image_ids, data.boxes, strict=True)}
