"""Checks that the files of a data set agree with its metadata, and its metadata with the published counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wsol.data import decoding, masks
from wsol.data.dataset import SPLIT_FOLDERS, Dataset, Split, SplitCounts
from wsol.data.images import size_problem
from wsol.data.metadata import Metadata
from wsol.errors import InputError
from wsol.pace import paced
from wsol.threads import map_ahead

SHOWN = 3
MISSING, DAMAGED = "are missing", "are damaged or other ones"
NO_OBJECT = "have no pixel of an object"
TURNED = "have an EXIF orientation; they are read as displayed"
BLANK = "are all black or all white"
ASPECT = "have another aspect than their image; each is stretched to the whole image"
NOTES = (TURNED, BLANK, ASPECT)
"""Kinds of findings that are only reported; the others make the data set unusable."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the files of one image.

    Attributes:
        kind: one of the texts above.
        text: the file, and what was found.
    """

    kind: str
    text: str


def check_tree(dataset: Dataset, log: Callable[[str], None] = print) -> dict[str, SplitCounts]:
    """Verify a data set: its counts are the published ones, all files exist, no image is in two splits, and images have
    the sizes in the metadata.

    The user's own images and masks are read completely. For prepared data sets, whose archives were verified, only the
    headers of images are read; files whose size in pixels is not in the metadata must only not be empty.

    Args:
        dataset: any data set.
        log: gets one line of counts per split, and lines about findings that are unusual but may be intended.

    Returns:
        split name -> counts of `images`, `classes`, `boxes` and `masks`.

    Raises:
        InputError: there are problems; the message has the number and the first few of each kind in each split.
    """
    splits: dict[str, Split] = {}
    problems: list[str] = []
    for name in SPLIT_FOLDERS:
        try:
            splits[name] = dataset.split(name)
        except InputError as error:
            problems.append(f"{name}: {error}")
    counts = {name: count(split.metadata) for name, split in splits.items()}
    problems += _in_two_splits({name: split.image_ids for name, split in splits.items()})
    for name, split in splits.items():
        line = ", ".join(f"{number} {what}" for what, number in counts[name].items())
        log(f"{dataset.name} {name}: {line}{split.without_masks and f'; {split.without_masks}'}")
        cut = f"; the files in {split.metadata.folder} may be cut short: delete them and prepare again"
        problems += [line + cut for line in unlike_published(name, counts[name], dataset.published.get(name, {}))]
        found = _files(split, whole=dataset.own)
        for kind in NOTES:
            for line in _section(split, kind, found.get(kind, [])):
                log(line)
        again = "" if dataset.own else " (move them away, then prepare again)"
        for kind, more in ((MISSING, ""), (DAMAGED, again), (NO_OBJECT, "")):
            problems += _section(split, kind + more, found.get(kind, []))
    if problems:
        raise InputError("\n".join([_headline(dataset), *problems]))
    return counts


def _in_two_splits(image_ids: Mapping[str, Sequence[str]]) -> list[str]:
    split_of: dict[str, str] = {}
    lines: list[str] = []
    for name, images in image_ids.items():
        twice = [f"{image}: is in {split_of[image]} and in {name}" for image in images if image in split_of]
        lines += _first(twice, f"{name}: {len(twice)} of {len(images)} images are in another split too")
        split_of.update(dict.fromkeys(images, name))
    return lines


def _headline(dataset: Dataset) -> str:
    if dataset.own:
        return f"{dataset.name}: correct what is named here, or take its rows out of the metadata"
    return f"{dataset.name}: the data set is not complete; {dataset.remedy}"


def unlike_published(split: str, found: SplitCounts, published: SplitCounts) -> list[str]:
    """The published counts from which a split differs, in words."""
    return [
        f"{split}: {found[what]} {what} in the metadata instead of the published {number}"
        for what, number in published.items()
        if found[what] != number
    ]


def _files(split: Split, *, whole: bool) -> dict[str, list[str]]:
    """Kind of finding -> the findings of this kind."""
    found: dict[str, list[str]] = {}
    examine = partial(_examined, split, whole)
    examined = map_ahead(examine, range(len(split)), threads=8, ahead=256)
    for findings in paced(examined, f"checking {split.name}", len(split), log=None):
        for finding in findings:
            found.setdefault(finding.kind, []).append(finding.text)
    return found


def _section(split: Split, kind: str, lines: list[str]) -> list[str]:
    what = "masks" if kind in (NO_OBJECT, ASPECT) else "files"
    return _first(lines, f"{split.name}: {what} of {len(lines)} of {len(split)} images {kind}")


def _first(problems: list[str], title: str) -> list[str]:
    if not problems:
        return []
    more = [f"  ... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return [f"{title}:", *(f"  {problem}" for problem in problems[:SHOWN]), *more]


def _examined(split: Split, whole: bool, position: int) -> list[Finding]:
    """The findings about the files of one image; the search ends at the first missing or damaged file."""
    path, (objects, ignored) = split.image_path(position), split.mask_paths(position)
    for needed in (path, *objects, *([ignored] if ignored else [])):
        try:
            if needed.stat().st_size == 0:
                return [Finding(DAMAGED, f"{needed}: is empty")]
        except OSError:
            return [Finding(MISSING, f"{needed}: no such file")]
    try:
        if not whole:
            return list(_header(split, position)) if split.metadata.sizes is not None else []
        found = list(_whole_image(split, position))
    except decoding.Undecodable as error:
        return [Finding(DAMAGED, f"{path}: cannot be read ({error})")]
    size = masks.displayed_size(path)
    for mask in (*objects, *([ignored] if ignored else [])):
        found += _whole_mask(mask, size, mask != ignored) if size else []
    return found


def _header(split: Split, position: int) -> Iterator[Finding]:
    path = split.image_path(position)
    with decoding.opened(path) as image:
        if problem := size_problem(split, position, image):
            yield Finding(DAMAGED, f"{path}: {problem}")


def _whole_image(split: Split, position: int) -> Iterator[Finding]:
    yield from _header(split, position)
    path = split.image_path(position)
    with decoding.opened(path) as image:
        if (orientation := decoding.orientation(image)) != 1:
            yield Finding(TURNED, f"{path}: EXIF orientation {orientation}")
        if color := decoding.blank_color(np.asarray(decoding.rgb(image, displayed=split.displayed))):
            yield Finding(BLANK, f"{path}: all {color}")


def _whole_mask(path: Path, image: decoding.Side, is_object: bool) -> Iterator[Finding]:
    try:
        values = decoding.mask_values(path)
    except decoding.Undecodable as error:
        yield Finding(DAMAGED, f"{path}: cannot be read ({error})")
        return
    height, width = values.shape[:2]
    if masks.is_turned((width, height), image):
        yield Finding(DAMAGED, masks.turned_problem(path, (width, height), image))
    elif not masks.same_aspect((width, height), image):
        yield Finding(ASPECT, f"{path}: {width} x {height} pixels, its image {image[0]} x {image[1]}")
    if is_object and not masks.has_object(values).any():
        yield Finding(NO_OBJECT, f"{path}: has no pixel above 0")


def count(data: Metadata) -> SplitCounts:
    """The numbers of images, classes, boxes and masks of a split."""
    return {
        "images": len(data.image_ids),
        "classes": len(np.unique(data.labels)),
        "boxes": sum(len(boxes) for boxes in data.boxes or ()),
        "masks": sum(len(paths) for paths, _ in data.masks or ()),
    }
