"""The pictures of the report: images of train_fullsup through the winner, other trials and other post-hoc settings.

A few images of each class are looked at, and of these some hits, some misses, the smallest objects and the largest
disagreements are drawn. `best/examples.json` lists the pictures, `best/images.csv` all images that were looked at.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.pictures import map_overlay, photo_with_boxes, save_jpeg, shrunk
from wsol.config import TrainConfig
from wsol.files import write_text

if TYPE_CHECKING:
    from wsol.data.dataset import Dataset, Split
    from wsol.data.images import ImageStore
    from wsol.method import Method
    from wsol.metric import Sample

LOOKED_AT = 400
"""Images that are looked at, if the data set has so many; at least one of each class."""

PER_TAB = 12
VIEWS = 4
MAX_SIDE = 256
HIT = 0.5
THRESHOLDS = ("max_box_acc_v2/threshold_50", "max_box_acc/threshold_50", "gt_known/loc_threshold", "piou/threshold")
"""The metrics that choose a score threshold for one region, the first that is there counts."""


@dataclass(frozen=True, slots=True)
class View:
    """One way to see an image: a column of the grid.

    Attributes:
        label: what the column is called.
        method: with its weights, on the device.
        config: of the run, for its evaluation.
        metrics: on train_fullsup, which choose the score threshold of the regions.
    """

    label: str
    method: Method
    config: TrainConfig
    metrics: Mapping[str, float]

    @property
    def threshold(self) -> float | None:
        """The score from which on a pixel belongs to the object; None where no metric chooses one."""
        return threshold_of(self.metrics)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One image through one view.

    Attributes:
        score_map: (S, S) uint8, the scores times 255.
        region: what is predicted: a box (4,), or a mask (S, S) bool where the data set has masks.
        truth: what is right: boxes (n, 4), or a mask (S, S) bool.
        iou: of the region with the truth, in [0, 1].
        size: of the largest true box, or of the mask, in percent of the image.
    """

    score_map: np.ndarray
    region: np.ndarray
    truth: np.ndarray
    iou: float
    size: float


def threshold_of(metrics: Mapping[str, float]) -> float | None:
    """The score threshold that some metrics chose on train_fullsup; None where they choose none."""
    return next((metrics[name] for name in THRESHOLDS if name in metrics), None)


def write_gallery(best: Path, views: Sequence[View], dataset: Dataset) -> None:
    """Write pictures and lists into `best`, in place of former ones.

    Args:
        best: a folder.
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
    tabs = choose([[look.iou for look in column] for column in looks], sizes)
    _write_images(best / "images.csv", split, dataset, sizes, [look.iou for look in looks[0]])
    shutil.rmtree(best / "examples", ignore_errors=True)
    (best / "examples").mkdir()
    entries = []
    for position in in_turn(list(tabs.values())):
        facts = {
            "image_id": split.image_ids[position],
            "class_name": dataset.class_names[split.labels[position]],
            "size": sizes[position],
        }
        shown = _draw(best, position, images, views, [column[position] for column in looks])
        entries.append({**facts, "tabs": [name for name, chosen in tabs.items() if position in chosen], **shown})
    write_text(best / "examples.json", json.dumps(entries, indent=1))


def look_at(view: View, images: ImageStore) -> list[Look]:
    """Every image of a split through a view."""
    from wsol.evaluation import localize

    threshold = view.threshold or 0.0
    return [_look(sample, threshold) for sample in localize(view.method, images, view.config.evaluation)]


def _look(sample: Sample, threshold: float) -> Look:
    from wsol.ops.boxes import iou

    score_map, mask = (sample.score_map * 255).astype(np.uint8), sample.annotation.mask
    if mask is None:
        box, boxes = sample.level_boxes.largest[int(threshold * sample.level_boxes.peak)], sample.grid_boxes
        share = int((boxes[:, 2:] - boxes[:, :2] + 1).prod(1).max()) / score_map.size
        return Look(score_map, box, boxes, float(iou(box[None], boxes).max()), 100 * share)
    truth = mask == 1
    region = (sample.score_map >= threshold) & (mask != 255)
    overlap = int(np.count_nonzero(region & truth)) / max(int(np.count_nonzero(region | truth)), 1)
    return Look(score_map, region, truth, overlap, 100 * float(truth.mean()))


def choose(overlaps: Sequence[Sequence[float]], sizes: Sequence[float]) -> dict[str, list[int]]:
    """Which images stand in which tab.

    Args:
        overlaps: IoU of every image in every view, the winner first.
        sizes: of the objects, in percent of the image.

    Returns:
        `hits` and `misses`, evenly from the best to the worst; the smallest objects under `small`; under
        `disagreements` those where the views differ most, with several views only. Tabs without images are left out.
    """
    values = np.array(overlaps)
    ranked = [int(place) for place in np.argsort(-values[0], kind="stable")]
    spread = values.max(0) - values.min(0)
    tabs = {
        "hits": _evenly([place for place in ranked if values[0, place] >= HIT]),
        "misses": _evenly([place for place in ranked if values[0, place] < HIT]),
        "small": [int(place) for place in np.argsort(sizes, kind="stable")[:PER_TAB]],
        "disagreements": [int(place) for place in np.argsort(-spread, kind="stable")[:PER_TAB] if spread[place] > 0],
    }
    return {name: chosen for name, chosen in tabs.items() if chosen}


def in_turn(lists: Sequence[Sequence[int]]) -> list[int]:
    """The first of each list, the second of each, and so on, each number once: a beginning of it has something of every
    list."""
    return list(dict.fromkeys(number for row in zip_longest(*lists) for number in row if number is not None))


def _evenly(ranked: Sequence[int]) -> list[int]:
    places = np.linspace(0, len(ranked) - 1, min(PER_TAB, len(ranked))).round().astype(int).tolist()
    return [ranked[place] for place in places]


def _draw(
    best: Path, position: int, images: ImageStore, views: Sequence[View], looks: Sequence[Look]
) -> dict[str, Any]:
    """Write the pictures of one image: entries of `examples.json`."""
    stem = f"examples/{position:04d}"
    image = np.asarray(images.read([position])[0])
    small, truth = shrunk(image, MAX_SIDE), shrunk_region(looks[0].truth, len(image), MAX_SIDE)
    save_jpeg(best / f"{stem}-photo.jpg", photo_with_boxes(small, truth))
    shown = []
    for number, (view, look) in enumerate(zip(views, looks, strict=True)):
        picture = map_overlay(
            small, shrunk(look.score_map, MAX_SIDE) / 255, shrunk_region(look.region, len(image), MAX_SIDE), truth
        )
        save_jpeg(best / f"{stem}-map-{number}.jpg", picture)
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
