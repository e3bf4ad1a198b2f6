"""Is a data set on the disk what its metadata says, and is the metadata what was published?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS, UNDECODABLE, Dataset, Split, SplitCounts
from wsol.errors import InputError
from wsol.threads import map_ahead

SHOWN = 3
MISSING, DAMAGED = "are missing", "are damaged or other ones (delete them, then prepare again)"


def check_tree(dataset: Dataset, log: Callable[[str], None] = print) -> dict[str, SplitCounts]:
    """Verify a data set: counts are the published ones, all files are there, no image is in two splits, and images have
    the size of the metadata.

    Only the headers of images are read; of files whose size in pixels the metadata does not give, only that they are
    not empty.

    Args:
        dataset: any.
        log: gets one line of counts per split.

    Returns:
        split name -> counts of `images`, `classes`, `boxes` and `masks`.

    Raises:
        InputError: with the number and the first few of each kind of problem in each split.
    """
    counts: dict[str, SplitCounts] = {}
    problems: list[str] = []
    split_of: dict[str, str] = {}
    for name in SPLIT_FOLDERS:
        try:
            split = dataset.split(name)
        except InputError as error:
            problems.append(f"{name}: {error}")
            continue
        counts[name] = _counts(split)
        log(f"{dataset.name} {name}: " + ", ".join(f"{count} {what}" for what, count in counts[name].items()))
        problems += [
            *_unlike_published(split, counts[name], dataset.published.get(name, {})),
            *_in_two_splits(split, split_of),
            *_files(split),
        ]
    if problems:
        raise InputError("\n".join([f"{dataset.name}: the data set is not complete; {dataset.remedy}", *problems]))
    return counts


def _unlike_published(split: Split, found: SplitCounts, published: SplitCounts) -> list[str]:
    return [
        f"{split.name}: {found[what]} {what} in the metadata instead of the published {count}; "
        f"the files in {split.metadata.folder} may be cut short: delete them and prepare again"
        for what, count in published.items()
        if found[what] != count
    ]


def _in_two_splits(split: Split, split_of: dict[str, str]) -> list[str]:
    twice = [f"{image}: is in {split_of[image]} and in {split.name}" for image in split.image_ids if image in split_of]
    split_of.update(dict.fromkeys(split.image_ids, split.name))
    return _first(twice, f"{split.name}: {len(twice)} of {len(split)} images are in another split too")


def _files(split: Split) -> list[str]:
    found: dict[str, list[str]] = {MISSING: [], DAMAGED: []}
    for kind, problem in filter(None, map_ahead(partial(_problem, split), range(len(split)), threads=8, ahead=256)):
        found[kind].append(problem)
    return [
        line
        for kind, lines in found.items()
        for line in _first(lines, f"{split.name}: files of {len(lines)} of {len(split)} images {kind}")
    ]


def _first(problems: list[str], title: str) -> list[str]:
    if not problems:
        return []
    more = [f"  ... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return [f"{title}:", *(f"  {problem}" for problem in problems[:SHOWN]), *more]


def _problem(split: Split, position: int) -> tuple[str, str] | None:
    """What is wrong with the files of one image, by kind."""
    path, data = split.image_path(position), split.metadata
    masks = () if data.masks is None else filter(None, (*data.masks[position][0], data.masks[position][1]))
    for needed in (path, *(split.mask_root / mask for mask in masks)):
        try:
            if needed.stat().st_size == 0:
                return DAMAGED, f"{needed}: is empty"
        except OSError:
            return MISSING, f"{needed}: no such file"
    if data.sizes is None:
        return None
    try:
        with Image.open(path) as image:
            found = image.size
    except UNDECODABLE as error:
        return DAMAGED, f"{path}: cannot be read ({error})"
    width, height = data.sizes[position].tolist()
    if found == (width, height):
        return None
    return DAMAGED, f"{path}: has {found[0]} x {found[1]} pixels, {metadata.SIZES} says {width} x {height}"


def _counts(split: Split) -> SplitCounts:
    return {
        "images": len(split),
        "classes": len(np.unique(split.labels)),
        "boxes": sum(len(boxes) for boxes in split.metadata.boxes or ()),
        "masks": sum(len(paths) for paths, _ in split.metadata.masks or ()),
    }
