"""Files, archives and metadata of a few small images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from wsol.data import metadata
from wsol.data.metadata import Metadata


def quiet(line: str) -> None:
    """Drop a line of progress."""


def picture(size: tuple[int, int] = (64, 64), kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(file, kind)
    return file.getvalue()


def put_files(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def put_metadata(
    tree: Path, ids: dict[str, list[str]], *, masks: bool = False, size: tuple[int, int] = (64, 64)
) -> None:
    """Labels are the numbers 0, 1, ... of the images."""
    for published, names in ids.items():
        labels = np.arange(len(names))
        boxes = None if masks or published == "train" else tuple(np.array([[0, 0, 9, 9]]) for _ in names)
        rows = (
            tuple(((f"{name[:-4]}_m0.png",), f"{name[:-4]}_ignore.png") for name in names)
            if masks and published != "train"
            else None
        )
        sizes = None if masks else np.array([size] * len(names))
        metadata.write(tree / published, Metadata(tree, tuple(names), labels, sizes, boxes, rows))
