"""Selects images from those that are listed, and converts their objects to the pixels of the metadata.

WSOL has one class per image: an image that shows two, hidden objects included, is left out. Edges are rounded to the
nearest edge of a pixel, and boxes are clipped to the image; a pixel of the metadata lies between two edges, so the box
from edge 10 to edge 20 is 10 to 19.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.data import decoding
from wsol.data.decoding import Side
from wsol.data.imports import left_out as kinds
from wsol.data.imports.annotations import Edges, Listed, Object, Outlines, RunLengths, Source
from wsol.data.imports.left_out import Kind, LeftOut
from wsol.data.imports.locating import ImageFiles, has_whole_name
from wsol.data.rows import OUTSIDE
from wsol.errors import InputError
from wsol.ops.regions import Region, decode_letters, outline_region, unroll
from wsol.pace import paced
from wsol.threads import map_ahead

Log = Callable[[str], None]
Boxes = NDArray[np.int64]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selected image.

    Attributes:
        image: the path of the image below the images.
        listed: the image as the file lists it.
        size: width and height as displayed.
        category: key of its class.
        boxes: (n, 4) int64, inclusive corners x0 y0 x1 y1; n >= 1.
    """

    image: str
    listed: Listed
    size: Side
    category: str
    boxes: Boxes


def select(source: Source, left_out: LeftOut, log: Log) -> list[Chosen]:
    """Select the images with one class, a readable file and an object; returns them sorted by name.

    Args:
        source: the content of the annotations.
        left_out: counts the images and annotations that are left out.
        log: gets lines of progress.

    Raises:
        InputError: an image is listed twice, or none is left.
    """
    named = _with_files(source, left_out)
    chosen: list[Chosen] = []
    measured = map_ahead(
        lambda image: _measured(source.root / image, named[image]), sorted(named), threads=8, ahead=256
    )
    shown = paced(measured, "looking at image files", len(named), log=log)
    for image, found in zip(sorted(named), shown, strict=True):
        if isinstance(found, Kind):
            left_out.add(found, image)
        else:
            chosen += _chosen(source, image, named[image], found, left_out)
    if not chosen:
        raise InputError("\n".join(["no image is left of the annotations:", *left_out.lines()]))
    return chosen


def object_region(listed: Listed, size: Side, *, hidden: bool) -> Region:
    """(H, W): the pixels of all objects of an image, or of all hidden ones.

    Raises:
        InputError: the run lengths of an object do not fit the image.
    """
    region = np.zeros(size[::-1], np.bool_)
    for found in listed.objects:
        if found.hidden == hidden and found.region is not None:
            region |= _region(found, size)
    return region


def _with_files(source: Source, left_out: LeftOut) -> dict[str, Listed]:
    """Image path -> the listed image, for images with one class and a file."""
    files = ImageFiles(source.root)
    hidden = Kind(source.hidden, done="ignored regions" if source.with_masks else "left out")
    claims: dict[str, list[Listed]] = {}
    for listed in source.images:
        name = _name(listed)
        for _ in (one for one in listed.objects if one.hidden):
            left_out.add(hidden, name)
        path = _path(listed, files)
        kind = _unusable(listed, path)
        if kind is not None:
            left_out.add(kind, path or name)
        if path is not None:
            claims.setdefault(path, []).append(listed)
    owners = {path: _owner(path, claims[path], left_out) for path in claims}
    return {path: owner for path, owner in owners.items() if owner is not None}


def _owner(path: str, claims: list[Listed], left_out: LeftOut) -> Listed | None:
    """The image of a file: that whose whole name fits it, else the only one whose name ends like it; None if that is
    unusable, or there are several."""
    whole = [one for one in claims if any(has_whole_name(path, name) for name in (*one.names[:1], one.stem) if name)]
    closest = whole or (claims if len(set(map(_name, claims))) == 1 else [])
    usable = [one for one in claims if _unusable(one, path) is None]
    taken = [one for one in closest if one in usable]
    if len(taken) > 1:
        raise InputError(f"{taken[1].where}: {path} is listed before, at {taken[0].where}; remove one of them")
    for one in usable:
        if one not in whole:
            left_out.add(kinds.SHORTENED if one in taken else kinds.SHARED_FILE, _name(one))
    return taken[0] if taken else None


def _name(listed: Listed) -> str:
    return (listed.names or (listed.stem,))[0]


def _path(listed: Listed, files: ImageFiles) -> str | None:
    by_stem = files.find_stem(listed.stem) if listed.stem else None
    return by_stem or next((path for name in listed.names if (path := files.find(name)) is not None), None)


def _unusable(listed: Listed, path: str | None) -> Kind | None:
    classes = {found.category for found in listed.objects}
    if len(classes) != 1:
        return kinds.CLASSES if classes else kinds.NO_ANNOTATION
    if path is None:
        return kinds.NO_FILE
    odd = "," in path or path != path.strip() or OUTSIDE.search(path) or not _is_utf8(path)
    return kinds.ODD_NAME if odd else None


def _is_utf8(path: str) -> bool:
    """Whether a file's name is text; Python keeps other bytes as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in path)


def _measured(path: Path, listed: Listed) -> Side | Kind:
    """Width and height as displayed, or why the file cannot be used; reads the whole file."""
    try:
        with decoding.opened(path) as image:
            displayed, stored = (decoding.size(image, displayed=shown) for shown in (True, False))
            decoding.rgb(image, displayed=False)
    except (FileNotFoundError, decoding.Undecodable):
        return kinds.DAMAGED
    annotated = (
        {listed.size}
        if listed.size
        else {found.region.size for found in listed.objects if isinstance(found.region, RunLengths)}
    )
    if annotated <= {displayed}:
        return displayed
    return kinds.TURNED if annotated == {stored} else kinds.OTHER_SIZE


def _chosen(source: Source, image: str, listed: Listed, size: Side, left_out: LeftOut) -> Iterator[Chosen]:
    """The image, if it has an object left."""
    objects = [found for found in listed.objects if not found.hidden]
    boxes: list[Box] = []
    for found in objects:
        kind, box = _masked(found, listed, size) if source.with_masks else _boxed(found, listed, size)
        if box in boxes:
            left_out.add(kinds.REPEATED, image)
            continue
        boxes += [] if box is None else [box]
        if kind is not None:
            left_out.add(kind, image)
    if boxes:
        yield Chosen(image, listed, size, listed.objects[0].category, np.array(boxes, np.int64))
    else:
        left_out.add(kinds.NOTHING_LEFT, image)


def _masked(found: Object, listed: Listed, size: Side) -> tuple[Kind | None, Box | None]:
    """The finding about an object that has a mask, and its box, which is that of the mask if its own is unusable; None
    where it has no mask."""
    if found.region is None:
        return kinds.NO_REGION, None
    around = _edges_of_region(found, size)
    if around is None:
        return kinds.NO_PIXEL, None
    kind, box = _boxed(found, listed, size)
    return (kind, box) if box is not None else (kinds.OF_REGION, _box(around, size)[1])


def _boxed(found: Object, listed: Listed, size: Side) -> tuple[Kind | None, Box | None]:
    """The finding about an object, and its box, or that of its region if it has none; None where there is none."""
    if found.edges is not None:
        across, down = size if listed.relative else (1, 1)
        left, top, right, bottom = found.edges
        return _box((left * across, top * down, right * across, bottom * down), size)
    around = None if found.region is None else _edges_of_region(found, size)
    return (kinds.EMPTY, None) if around is None else (kinds.OF_REGION, _box(around, size)[1])


def _edges_of_region(found: Object, size: Side) -> Edges | None:
    """The edges around the pixels of an object; None if it has none."""
    region = _region(found, size)
    if not region.any():
        return None
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _box(edges: Edges, size: Side) -> tuple[Kind | None, Box | None]:
    """The finding about a box, and its corners inside of the image; None where there is none."""
    left, top, right, bottom = (math.floor(edge + 0.5) for edge in edges)
    if right <= left or bottom <= top:
        return kinds.EMPTY, None
    width, height = size
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        return kinds.OUTSIDE, None
    inside = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    box = inside[0], inside[1], inside[2] - 1, inside[3] - 1
    return (kinds.CUT if inside != (left, top, right, bottom) else None), box


def _region(found: Object, size: Side) -> Region:
    width, height = size
    if isinstance(found.region, Outlines):
        region = np.zeros((height, width), np.bool_)
        for polygon in found.region.polygons:
            region |= outline_region(polygon, height, width)
        return region
    assert isinstance(found.region, RunLengths)
    runs = found.region
    if runs.size != size:
        raise InputError(
            f"{found.where}: run lengths of {runs.size[0]} x {runs.size[1]} pixels in an image of {width} x {height};"
            " correct the file"
        )
    try:
        return unroll(decode_letters(runs.counts) if isinstance(runs.counts, str) else runs.counts, height, width)
    except ValueError as error:
        raise InputError(f"{found.where}: {error}; correct the file") from None
