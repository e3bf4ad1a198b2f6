"""Images of noise that stand for a data set whose files are not needed, such as where costs are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsol import build, distributed, plugins
from wsol.config import TrainConfig
from wsol.data import metadata
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.evaluation import require_countable


def random_images(
    folder: Path, config: TrainConfig, classes: int, trained: int, fullsup: int
) -> tuple[ImageStore, ImageStore]:
    """Images of noise on the disk, for training (before the crop) and for evaluation, both with the annotations that
    the metrics need: a method may train on them."""
    generator = torch.Generator().manual_seed(0)
    for name, count, side in (
        ("train", 0, 1),
        ("val", fullsup, config.data.image_size),
        ("test", trained, config.data.resize_size),
    ):
        _write_noise(folder, name, count, side, classes, generator)
    shape = {
        "image_size": config.data.image_size,
        "resize_size": config.data.resize_size,
        "cache": config.data.cache,
        "root": str(folder),
        "workers": config.data.workers,
    }
    for kind in ("boxes", "masks"):
        fields = {
            "name": "folder",
            "images": str(folder),
            "metadata": str(folder / kind),
            "num_classes": classes,
            **shape,
        }
        data = plugins.load("dataset", "folder").Config.model_validate(fields)
        dataset = build.dataset(data)
        found = build.images(dataset, "train_fullsup", data)
        try:
            require_countable(found.split, found.size, config.evaluation)
        except InputError:
            continue
        break
    return ImageStore(dataset.split("test"), data.resize_size, data), found


def _write_noise(folder: Path, split: str, count: int, side: int, classes: int, generator: torch.Generator) -> None:
    """`<split>/<n>.png` with a mask of the left half, and the metadata of both kinds."""
    (folder / split).mkdir()
    names = tuple(f"{split}/{index}.png" for index in range(count))
    for name in names:
        Image.fromarray(torch.randint(256, (side, side, 3), generator=generator, dtype=torch.uint8).numpy()).save(
            folder / name
        )
    mask = np.zeros((side, side), np.uint8)
    mask[:, : side // 2] = 255
    Image.fromarray(mask).save(folder / split / "mask.png")
    box = np.array([[0, 0, side // 2, side - 1]])
    common = (folder, names, np.arange(count) % classes, np.full((count, 2), side))
    metadata.write(folder / "boxes" / split, metadata.Metadata(*common, (box,) * count, None))
    masks = ((f"{split}/mask.png",), f"{split}/mask.png")
    metadata.write(folder / "masks" / split, metadata.Metadata(*common, None, (masks,) * count))


def noise_on_device(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised images and labels."""
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return images.to(distributed.device()), torch.zeros(count, dtype=torch.int64, device=distributed.device())
