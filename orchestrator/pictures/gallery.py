"""Makes the pictures of the report: images of train_fullsup as the winner, other trials and other post-hoc settings see
them.

A few images of each class are scored; some hits, some misses, the smallest objects and the largest disagreements of
these are drawn. A list names the pictures, a table all images that were scored.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.formats import csv_cell
from orchestrator.pictures.choice import choose_images, take_in_turn
from orchestrator.pictures.drawing import NO_BOXES, map_overlay, photo_with_boxes, save_jpeg, shrunk, shrunk_region
from orchestrator.pictures.examples import Example, FurtherMap, SeenMap
from orchestrator.pictures.looks import Look, View, look_at
from wsol.files import TEMPORARY, write_text

if TYPE_CHECKING:
    from wsol.data.dataset import Dataset, Split
    from wsol.data.images import ImageStore


LOOKED_AT = 400
"""Number of images that are scored for the pictures, if the data set has so many; at least one of each class."""


VIEWS = 4


MAX_SIDE = 256


def write_gallery(listing: Path, table: Path, views: Sequence[View], dataset: Dataset) -> None:
    """Write pictures and lists, in place of former ones.

    Args:
        listing: the file that gets the list of the pictures, which go into a folder of its name.
        table: a file that gets a row for each image that was scored.
        views: the winner first; those without a threshold, and more than four, are left out.
        dataset: the run's data set.
    """
    from wsol import supervision
    from wsol.data.images import ImageStore

    views = [view for view in views if view.threshold is not None][:VIEWS]
    if not views:
        return
    data = views[0].config.data
    scored = supervision.scored_split(dataset, "train_fullsup", views[0].config)
    split = scored.subset(max(1, LOOKED_AT // dataset.num_classes), data.subset_seed)
    images = ImageStore(split, data.image_size, data.model_copy(update={"cache": "off"}))
    looks = [look_at(view, images) for view in views]
    names = [dataset.class_names[label] for label in split.labels]
    write_text(table, _table(split.image_ids, names, looks[0]))
    tabs = choose_images([[look.iou for look in column] for column in looks], [look.size for look in looks[0]])
    places = take_in_turn(list(tabs.values()))
    with _replaced(listing.with_suffix("")) as folder:
        examples = []
        for place, further in zip(places, _look_further(views[0], split, places), strict=True):
            photo, seen = _draw(folder, listing.stem, place, images, views, [column[place] for column in looks])
            example = Example(
                image_id=split.image_ids[place],
                class_name=names[place],
                size=looks[0][place].size,
                tabs=tuple(name for name, chosen in tabs.items() if place in chosen),
                photo=photo,
                further=tuple(_draw_further(folder, listing.stem, place, images, further)),
                others=tuple(seen[1:]),
                **dataclasses.asdict(seen[0]),
            )
            examples.append(dataclasses.asdict(example))
    write_text(listing, json.dumps(examples, indent=1))


def _draw(
    folder: Path, home: str, place: int, images: ImageStore, views: Sequence[View], looks: Sequence[Look]
) -> tuple[str, list[SeenMap]]:
    """Write the pictures of one image into a folder that will be renamed to `home`; returns the file of the photo, and
    an entry for each view."""
    image = np.asarray(images.read([place])[0])
    small, truth = shrunk(image, MAX_SIDE), shrunk_region(looks[0].truth, len(image), MAX_SIDE)
    photo, seen = f"{place:04d}-photo.jpg", []
    save_jpeg(folder / photo, photo_with_boxes(small, truth))
    for number, (view, look) in enumerate(zip(views, looks, strict=True)):
        region = shrunk_region(look.region, len(image), MAX_SIDE)
        name = f"{place:04d}-map-{number}.jpg"
        save_jpeg(folder / name, map_overlay(small, shrunk(look.score_map, MAX_SIDE) / 255, region, truth))
        seen.append(SeenMap(label=view.label, map=f"{home}/{name}", iou=look.iou, threshold=view.threshold or 0.0))
    return f"{home}/{photo}", seen


def _look_further(view: View, split: Split, places: list[int]) -> Iterator[dict[str, np.ndarray]]:
    """Further maps that the method of a view shows of some images."""
    from wsol.data.images import ImageStore
    from wsol.evaluation import further_maps

    data = view.config.data.model_copy(update={"cache": "off"})
    return further_maps(
        view.method, ImageStore(split.only(places), data.image_size, data), view.config.evaluation.batch_size
    )


def _draw_further(
    folder: Path, home: str, place: int, images: ImageStore, further: Mapping[str, np.ndarray]
) -> Iterator[FurtherMap]:
    """Write the further maps of one image."""
    photo = shrunk(np.asarray(images.read([place])[0]), MAX_SIDE)
    for number, (label, scores) in enumerate(further.items()):
        name = f"{place:04d}-further-{number}.jpg"
        save_jpeg(folder / name, map_overlay(photo, shrunk(scores, MAX_SIDE), None, NO_BOXES))
        yield FurtherMap(label=label, map=f"{home}/{name}")


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yield a new private folder to fill; at the end of the block it replaces `folder`."""
    new = folder.with_name(f"{folder.name}.{token_hex(4)}{TEMPORARY}")
    new.mkdir()
    try:
        yield new
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _table(image_ids: Sequence[str], class_names: Sequence[str], looks: Sequence[Look]) -> str:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["image_id", "class", "size_percent", "iou"])
    for image_id, name, look in zip(image_ids, class_names, looks, strict=True):
        writer.writerow([csv_cell(image_id), csv_cell(name), round(look.size, 3), round(look.iou, 4)])
    return table.getvalue()
