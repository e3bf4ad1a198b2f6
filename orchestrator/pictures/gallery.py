"""The pictures of the report: images of train_fullsup through the winner, other trials and other post-hoc settings.

A few images of each class are looked at, and of these some hits, some misses, the smallest objects and the largest
disagreements are drawn. A list names the pictures, a table all images that were looked at.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.pictures.drawing import map_overlay, photo_with_boxes, save_jpeg, shrunk
from orchestrator.pictures.looks import LOOKED_AT, Look, View, choose_images, look_at, take_in_turn
from wsol.files import write_text

if TYPE_CHECKING:
    from wsol.data.dataset import Dataset, Split
    from wsol.data.images import ImageStore


VIEWS = 4


MAX_SIDE = 256


def write_gallery(listing: Path, table: Path, views: Sequence[View], dataset: Dataset) -> None:
    """Write pictures and lists, in place of former ones.

    Args:
        listing: a file that lists the pictures, which go into a folder of its name.
        table: a file with a row per image that was looked at.
        views: the winner first; those without a threshold, and more than four, are left out.
        dataset: of the run.
    """
    from wsol.data.images import ImageStore

    views = [view for view in views if view.threshold is not None][:VIEWS]
    if not views:
        return
    data = views[0].config.data
    split = dataset.split("train_fullsup").subset(max(1, LOOKED_AT // dataset.num_classes), data.subset_seed)
    images = ImageStore(split, data.image_size, data.model_copy(update={"cache": "off"}))
    looks = [look_at(view, images) for view in views]
    sizes = [look.size for look in looks[0]]
    tabs = choose_images([[look.iou for look in column] for column in looks], sizes)
    _write_images(table, split, dataset, sizes, [look.iou for look in looks[0]])
    pictures = listing.with_suffix("")
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir()
    entries = []
    for position in take_in_turn(list(tabs.values())):
        facts = {
            "image_id": split.image_ids[position],
            "class_name": dataset.class_names[split.labels[position]],
            "size": sizes[position],
        }
        shown = _draw(pictures, position, images, views, [column[position] for column in looks])
        entries.append({**facts, "tabs": [name for name, chosen in tabs.items() if position in chosen], **shown})
    write_text(listing, json.dumps(entries, indent=1))


def _draw(
    pictures: Path, position: int, images: ImageStore, views: Sequence[View], looks: Sequence[Look]
) -> dict[str, Any]:
    """Write the pictures of one image: entries of the list."""
    stem = f"{pictures.name}/{position:04d}"
    image = np.asarray(images.read([position])[0])
    small, truth = shrunk(image, MAX_SIDE), shrunk_region(looks[0].truth, len(image), MAX_SIDE)
    save_jpeg(pictures.parent / f"{stem}-photo.jpg", photo_with_boxes(small, truth))
    shown = []
    for number, (view, look) in enumerate(zip(views, looks, strict=True)):
        picture = map_overlay(
            small, shrunk(look.score_map, MAX_SIDE) / 255, shrunk_region(look.region, len(image), MAX_SIDE), truth
        )
        save_jpeg(pictures.parent / f"{stem}-map-{number}.jpg", picture)
        shown.append(
            {"label": view.label, "map": f"{stem}-map-{number}.jpg", "iou": look.iou, "threshold": view.threshold}
        )
    return {"photo": f"{stem}-photo.jpg", **shown[0], "others": shown[1:]}


def shrunk_region(region: np.ndarray, side: int, largest: int) -> np.ndarray:
    """A mask (S, S) bool, or corners (..., 4) of boxes, on an image of S = `side` pixels: the same on the image no
    larger than `largest`."""
    if region.dtype == bool:
        return shrunk(region.astype(np.uint8) * 255, largest) > 127
    return region * min(1.0, largest / side)


def _write_images(
    path: Path, split: Split, dataset: Dataset, sizes: Sequence[float], overlaps: Sequence[float]
) -> None:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["image_id", "class", "size_percent", "iou"])
    for position, (size, overlap) in enumerate(zip(sizes, overlaps, strict=True)):
        writer.writerow(
            [split.image_ids[position], dataset.class_names[split.labels[position]], round(size, 3), round(overlap, 4)]
        )
    write_text(path, table.getvalue())
