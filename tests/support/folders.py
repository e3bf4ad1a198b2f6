"""Small data sets of images on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsol.data import metadata
from wsol.data.dataset import Dataset
from wsol.data.metadata import Metadata
from wsol.schema import DatasetConfig

COUNTS = {"train": 11, "val": 5, "test": 4}


CLASSES = 3


SIZE = (20, 16)


def make(root: Path, **settings: Any) -> tuple[Dataset, DatasetConfig]:
    """A data set of noise images under `<root>/toy`, or the one that is there."""
    config = DatasetConfig(name="toy", root=str(root), image_size=12, resize_size=16, **settings)
    images = root / "toy"
    if not images.is_dir():
        for folder, count in COUNTS.items():
            _make_split(images, folder, count)
    return Dataset(config, images=images, metadata=images / "metadata", class_names=["a", "b", "c"]), config


def _make_split(images: Path, folder: str, count: int) -> None:
    random = np.random.default_rng(count)
    (images / folder).mkdir(parents=True)
    ids = tuple(f"{folder}/{index}.png" for index in range(count))
    for name in ids:
        Image.fromarray(random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)).save(images / name)
    boxes = tuple(np.array([[1, 2, 3 + index, 4]]) for index in range(count))
    labels = np.arange(count) % CLASSES
    metadata.write(images / "metadata" / folder, Metadata(images, ids, labels, np.array([SIZE] * count), boxes, None))
