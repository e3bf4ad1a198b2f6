"""Instances JSON of COCO.

*Boxes.* `bbox` is left, top, width and height, from the upper left corner of the first pixel: 10 10 5 5 are the pixels
10 to 14. Fractions of a pixel are rounded to the nearest edge.

*Masks.* `segmentation` as polygons or run lengths, compressed or not.

*Classes.* In the order of their ids, which may be any; equal names are one class.

*Left out.* Annotations with `iscrowd: 1` are not objects; in a data set with masks they are the ignored region.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from wsol.data.imports import annotations as shared
from wsol.data.imports.annotations import (
    FARTHEST,
    POOL,
    Listed,
    Object,
    Outlines,
    RunLengths,
    Source,
    read_bytes,
    require_different,
)
from wsol.errors import InputError, listed
from wsol.schema import first_problem

EXAMPLE = "annotations=instances.json images=photos test=0.2 val=0.1"
LARGEST_FILE = 2 * 2**30


class Config(shared.Config):
    """Settings of this format; `val` and `test` may be further JSON files.

    Attributes:
        masks: `auto` writes masks beside the boxes if every annotation has a segmentation; `on` always does, and leaves
            out annotations without one; `off` writes boxes alone.
    """

    masks: Literal["auto", "on", "off"] = "auto"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, coerce_numbers_to_str=True)


class _Image(_Part):
    id: str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Category(_Part):
    id: str
    name: str


Numbered = TypeVar("Numbered", _Image, _Category)


class _Runs(_Part):
    size: tuple[int, int]
    counts: list[int] | str


class _Annotation(_Part):
    image_id: str
    category_id: str
    bbox: list[float] | None = None
    segmentation: list[list[float]] | _Runs | None = None
    iscrowd: bool | None = None

    @field_validator("bbox")
    @classmethod
    def _has_four_numbers(cls, bbox: list[float] | None) -> list[float] | None:
        if bbox and len(bbox) != 4:
            raise ValueError(f"has {len(bbox)} numbers instead of left, top, width, height")
        if bbox and max(map(abs, bbox)) >= FARTHEST:
            raise ValueError(f"has {max(bbox, key=abs):g}, which is no number of pixels")
        return bbox

    @field_validator("segmentation")
    @classmethod
    def _has_pairs(cls, found: list[list[float]] | _Runs | None) -> Any:
        if not isinstance(found, list):
            return found
        if any(len(polygon) % 2 for polygon in found):
            raise ValueError("has an odd number of coordinates; polygons are x, y, x, y, ...")
        return [array("d", polygon) for polygon in found]  # a quarter of the memory: COCO has sixty million of them


class _Instances(_Part):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read(config: Config) -> Source:
    """Read the file, and those of val and test if they have their own.

    Raises:
        InputError: a file is missing, damaged or no instances JSON; the message has the file and the place in it.
    """
    names: dict[str, str] = {}
    notes: list[str] = []
    images: list[Listed] = []
    files = {POOL: Path(config.annotations), **config.lists}
    require_different({split: [path] for split, path in files.items()})
    for split, path in files.items():
        instances = _read_file(path)
        categories = _unique(path, "categories", instances.categories)
        for category in sorted(categories.values(), key=lambda found: _by_number(found.id)):
            names.setdefault(category.name.strip(), category.name.strip())
        notes += _same_names(path, instances.categories)
        images += _images(path, split, instances, categories)
    with_masks, note = _wants_masks(config, images)
    root, order = Path(config.images), "the order of their ids"
    return Source(names, order, images, root, config.shares, with_masks, "crowd annotation", [*notes, *note])


def _same_names(path: Path, categories: list[_Category]) -> Iterator[str]:
    ids: dict[str, list[str]] = {}
    for category in categories:
        ids.setdefault(category.name.strip(), []).append(category.id)
    for name, same in ids.items():
        if len(same) > 1:
            yield f"one class: {name}, of which {path} has {len(same)} categories, {listed(same)}"


def _wants_masks(config: Config, images: list[Listed]) -> tuple[bool, list[str]]:
    """Whether masks are written, and notes about it for the user."""
    seen = [found.region is not None for listed in images for found in listed.objects if not found.hidden]
    if config.masks == "on" and not any(seen):
        raise InputError(f"{config.annotations}: no annotation has a segmentation; take the boxes with masks=off")
    if config.masks == "auto" and any(seen):
        if all(seen):
            return True, ["masks beside the boxes: every annotation has a segmentation; for the boxes alone, masks=off"]
        missing = f"{seen.count(False)} of {len(seen)} annotations have no segmentation"
        return False, [f"boxes alone: {missing}; for masks and boxes of the others, masks=on"]
    return config.masks == "on", []


def _read_file(path: Path) -> _Instances:
    content = read_bytes(path, LARGEST_FILE).removeprefix(b"\xef\xbb\xbf")
    try:
        return _Instances.model_validate_json(content)
    except ValidationError as error:
        problem = first_problem(error).removeprefix(": ").replace("\n", " ")
        raise InputError(
            f"{path}: {problem}; an instances JSON of COCO has images, annotations and categories"
        ) from None


def _unique(path: Path, part: str, entries: list[Numbered]) -> dict[str, Numbered]:
    found: dict[str, Numbered] = {}
    for number, entry in enumerate(entries):
        if entry.id in found:
            raise InputError(f"{path}: {part}.{number}: the id {entry.id} is there twice; ids must differ")
        found[entry.id] = entry
    return found


def _images(path: Path, split: str, instances: _Instances, categories: dict[str, _Category]) -> Iterator[Listed]:
    objects: dict[str, list[Object]] = {key: [] for key in _unique(path, "images", instances.images)}
    for number, annotation in enumerate(instances.annotations):
        where = f"{path}: annotations.{number}"
        if annotation.image_id not in objects:
            raise InputError(f"{where}: image_id {annotation.image_id} is the id of no image; correct the file")
        if annotation.category_id not in categories:
            raise InputError(
                f"{where}: category_id {annotation.category_id} is the id of no category; correct the file"
            )
        objects[annotation.image_id].append(_object(where, annotation, categories[annotation.category_id].name.strip()))
    for number, image in enumerate(instances.images):
        size = (image.width, image.height) if image.width and image.height else None
        yield Listed(f"{path}: images.{number}", (image.file_name,), tuple(objects[image.id]), size, split)


def _object(where: str, annotation: _Annotation, name: str) -> Object:
    edges = None
    if annotation.bbox:
        left, top, width, height = annotation.bbox
        edges = (left, top, left + width, top + height)
    region: Outlines | RunLengths | None = None
    found = annotation.segmentation
    if isinstance(found, _Runs):
        region = RunLengths((found.size[1], found.size[0]), found.counts)
    elif found:
        region = Outlines(found)
    return Object(where, name, edges, region, bool(annotation.iscrowd))


def _by_number(key: str) -> tuple[int, int, str]:
    """Sort key: numbers in their order, then other ids alphabetically."""
    return (0, int(key), "") if key.isascii() and key.isdigit() and len(key) < 19 else (1, 0, key)
