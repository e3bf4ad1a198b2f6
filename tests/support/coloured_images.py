"""Data sets of a few images of one colour, and a configuration that trains on them without changing a weight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wsol.config import TrainConfig
from wsol.data import metadata

COLOURS = [(200, 100, 50), (10, 20, 30), (250, 0, 128), (5, 255, 90), (77, 140, 203), (128, 128, 0), (30, 60, 250)]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def write_images(folder: Path, pixels: list[np.ndarray], boxes: list[np.ndarray] | None = None) -> None:
    """A data set of two classes for `folder`, whose three splits hold the same images, with a box in each."""
    for split in ("train", "val", "test"):
        (folder / split).mkdir(parents=True)
        names = tuple(f"{split}/{index}.png" for index in range(len(pixels)))
        for name, image in zip(names, pixels, strict=True):
            Image.fromarray(image).save(folder / name)
        sizes = np.array([image.shape[1::-1] for image in pixels])
        found = boxes or [np.array([[0, 0, 3, 3]])] * len(pixels)
        labels = np.arange(len(pixels)) % 2
        data = metadata.Metadata(
            folder, names, labels, None if split == "train" else sizes, None if split == "train" else tuple(found), None
        )
        metadata.write(folder / "metadata" / split, data)


def config_of(folder: Path, side: int, **sections: object) -> TrainConfig:
    """CAM on the tiny network without batch norm, on the images of a folder; other sections as given."""
    data = {
        "name": "folder",
        "images": str(folder),
        "metadata": str(folder / "metadata"),
        "num_classes": 2,
        "image_size": side,
        "resize_size": side,
        "cache": "off",
    }
    plain: dict[str, object] = {
        "method": {"name": "cam"},
        "backbone": {"name": "tiny", "stride": 8, "width": 4, "batch_norm": False},
        "data": data,
        "training": {"epochs": 1, "batch_size": 3, "precision": "fp32"},
        "optim": {"lr": 1e-30},
        "evaluation": {"threshold_step": 0.1},
    }
    return TrainConfig.model_validate({**plain, **sections})
