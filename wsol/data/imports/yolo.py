"""Text files of YOLO, one file per image and one row per object: class, then centre, width and height as shares of the
image's.

*Layout.* `annotations` is a `data.yaml` as Ultralytics and Roboflow write it, which says where the images of train, val
and test are; the rows of `.../images/.../a.jpg` are in `.../labels/.../a.txt`, or beside the image. Or it is a folder
of text files, where those of `images` have the same names.

*Boxes.* The edges are rounded to the nearest edge of a pixel. Rows with more numbers are outlines; their bounding box
is taken.

*Classes.* In the order of their numbers. Their names: in the `data.yaml`, in `classes`, or in `classes.txt` among the
text files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsol.data.imports import annotations as shared
from wsol.data.imports.annotations import POOL, SPLITS, Edges, Listed, Object, Source, read_bytes
from wsol.data.imports.locating import image_files
from wsol.data.rows import read_lines
from wsol.errors import InputError, counted, first_line, listed
from wsol.files import exists, is_dir, is_file
from wsol.pace import paced
from wsol.schema import FilePath

EXAMPLE = "annotations=data.yaml"
LARGEST_FILE = 2**24
NAMES = ("classes.txt", "obj.names", "_darknet.labels")


class Config(shared.Config):
    """Settings of this format. The list of a split's images is a folder of images, or a text file of their paths.

    Attributes:
        images: the folder of the images; null: the `path` of the `data.yaml`, or its folder.
        classes: a file of names, one per line; null: see above.
        train: lists the training images; null: what the `data.yaml` says, or all that are in no other split.
        val: null: what the `data.yaml` says, or 0.1.
        test: null: what the `data.yaml` says, or 0.2.
    """

    images: FilePath | None = None  # type: ignore[assignment]
    classes: FilePath | None = None
    train: FilePath | None = None
    val: float | FilePath | None = None  # type: ignore[assignment]
    test: float | FilePath | None = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class _Said:
    """The content of a `data.yaml`: the folder that its paths start at, names by number, the places of each split."""

    base: Path
    names: dict[int, str]
    places: dict[str, list[Path]]


def read(config: Config) -> Source:
    """Find the images and read their text files.

    Raises:
        InputError: a file is missing or damaged; the message has the file and the line.
    """
    path = Path(config.annotations)
    if not exists(path):
        raise InputError(f"{path}: no such file or folder; name a data.yaml, or the folder of the text files")
    said = _Said(path, {}, {}) if is_dir(path) else _said(path)
    root = Path(config.images) if config.images else said.base
    if not is_dir(root):
        raise InputError(f"{root}: no such folder; name the folder of the images with images=DIR")
    places, shares, notes = _places(config, said)
    files = _files(places or {POOL: [root]}, root, notes)
    labels = {image: _label_file(image, root, path if is_dir(path) else None) for image in files}
    names = _names(config, said.names, {label.parent for label in labels.values()} | {path})
    shown = paced(files, f"reading text files of {path}", len(files), "files")
    images = [_listed(image, root, labels[image], files[image], names) for image in shown]
    notes += _without_image(set(labels.values()))
    used = sorted({int(found.category) for image in images for found in image.objects})
    classes = {str(number): names.get(number, str(number)) for number in sorted({*names, *used})}
    return Source(classes, "the order of their numbers", images, root, shares, notes=notes)


def _said(path: Path) -> _Said:
    try:
        found: Any = yaml.load(read_bytes(path, LARGEST_FILE), yaml.BaseLoader)  # all scalars stay text: `no` is a name
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict) or "names" not in found:
        raise InputError(f"{path}: has no names; a data.yaml of YOLO has train, val and names")
    if "kpt_shape" in found:
        raise InputError(f"{path}: is of poses (kpt_shape), whose rows are no boxes; export boxes")
    names = found["names"]
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not all(
        isinstance(name, str) and str(number).isdigit() for number, name in numbered.items()
    ):
        raise InputError(f"{path}: names should be a list, or numbers with names")
    base = path.parent / str(found.get("path") or "")
    base = base if is_dir(base) else path.parent
    places = {split: _places_of(base, found[split], path) for split in SPLITS if found.get(split)}
    return _Said(base, {int(number): name for number, name in numbered.items()}, places)


def _places_of(base: Path, entry: Any, path: Path) -> list[Path]:
    """Folders or lists; Roboflow writes `../train/images` for `train/images`."""
    found = []
    for text in entry if isinstance(entry, list) else [entry]:
        tried = [base / str(text), base / str(text).removeprefix("../")]
        if not any(map(exists, tried)):
            raise InputError(f"{path}: {tried[0]} is not there; correct the path")
        found.append(next(filter(exists, tried)))
    return found


def _places(config: Config, said: _Said) -> tuple[dict[str, list[Path]], dict[str, float], list[str]]:
    """Split or `POOL` -> places of images; split -> share to draw; and notes on what was decided."""
    places = {POOL: said.places.get("train", [])} if config.train is None else {POOL: [Path(config.train)]}
    shares: dict[str, float] = {}
    notes = []
    for split, default in (("val", 0.1), ("test", 0.2)):
        value, there = getattr(config, split), said.places.get(split)
        if isinstance(value, str):
            places[split] = [Path(value)]
        elif value is None and there is not None:
            places[split] = there
        else:
            shares[split] = default if value is None else value
            if there is not None and config.train is None:
                places[POOL] += there
                notes.append(f"images of {split} in {config.annotations} are drawn from, as {split}={value:g} says")
    return (places if places[POOL] or said.places else {**places, POOL: []}), shares, notes


def _files(places: dict[str, list[Path]], root: Path, notes: list[str]) -> dict[Path, str]:
    """Image file -> split or `POOL`."""
    found: dict[Path, str] = {}
    for split, entries in places.items():
        for place in entries or [root]:
            paths = [place / name for name in image_files(place)] if is_dir(place) else _in_list(place, root, notes)
            if not paths:
                raise InputError(f"{place}: holds no image; name a folder of images, or a list of them")
            for path in paths:
                if entries and found.setdefault(path, split) != split:
                    raise InputError(f"{place}: {path.name} is in {found[path] or 'train'} too; name each image once")
                found.setdefault(path, split)
    return found


def _in_list(path: Path, root: Path, notes: list[str]) -> list[Path]:
    try:
        lines = [line.strip() for line in read_lines(path)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such folder or list of images; correct the path") from None
    found: list[Path] = []
    missing: list[str] = []
    for line in filter(None, lines):
        there = next(filter(is_file, (path.parent / line, root / line)), None)
        if there is None:
            missing.append(line)
        else:
            found.append(there)
    if missing:
        notes.append(f"left out: {counted(len(missing), 'name')} of {path} without an image ({listed(missing)})")
    return found


def _label_file(image: Path, root: Path, labels: Path | None) -> Path:
    """The text file with the rows of an image; it need not exist."""
    if labels is not None:
        return labels / image.relative_to(root).with_suffix(".txt")
    beside = image.with_suffix(".txt")
    before, separator, after = str(beside).rpartition("/images/")
    other = Path(f"{before}/labels/{after}")
    return other if separator and (is_file(other) or not is_file(beside)) else beside


def _names(config: Config, said: dict[int, str], folders: set[Path]) -> dict[int, str]:
    files = [folder / name for folder in sorted(folders) for name in NAMES if is_dir(folder)]
    path = Path(config.classes) if config.classes else next(filter(is_file, files), None)
    if path is None or (said and config.classes is None):
        return said
    try:
        return dict(enumerate(read_lines(path)))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of class names; correct classes=FILE") from None


def _without_image(labels: set[Path]) -> list[str]:
    folders = sorted({label.parent for label in labels if is_dir(label.parent)})
    files = [path for folder in folders for path in sorted(folder.glob("*.txt")) if path.name not in NAMES]
    orphans = [path.name for path in files if path not in labels]
    return [f"left out: {counted(len(orphans), 'text file')} without an image ({listed(orphans)})"] if orphans else []


def _listed(image: Path, root: Path, label: Path, split: str, names: dict[int, str]) -> Listed:
    try:
        name = image.relative_to(root).as_posix()
    except ValueError:
        raise InputError(
            f"{image}: lies outside of {root}; name a folder that holds all images with images=DIR"
        ) from None
    objects = tuple(_objects(label, names)) if is_file(label) else ()
    return Listed(str(label), (name,), objects, split=split, relative=True)


def _objects(path: Path, names: dict[int, str]) -> Iterator[Object]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        category, *values = line.split()
        if not (category.isascii() and category.isdigit() and len(category) < 10):
            raise InputError(f"{where}: the class {category[:40]!r} is no number; rows are class, x, y, width, height")
        if names and int(category) not in names:
            raise InputError(f"{where}: class {category} has no name; there are {len(names)}: complete the names")
        yield Object(where, str(int(category)), _edges(where, values))


def _edges(where: str, texts: list[str]) -> Edges:
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise InputError(f"{where}: {first_line(error)}; rows are class, x, y, width, height") from None
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in values):
        raise InputError(f"{where}: holds a number that is no share of the image; values are 0 to 1")
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6 or len(values) % 2:
        raise InputError(f"{where}: {len(values) + 1} fields instead of 5; rows are class, x, y, width, height")
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
