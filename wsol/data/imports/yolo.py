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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wsol.data.imports import annotations as shared
from wsol.data.imports import data_yaml
from wsol.data.imports.annotations import POOL, Edges, Listed, Object, Source, require_different
from wsol.data.imports.data_yaml import DataYaml
from wsol.data.imports.locating import ENDINGS, absolute, files_below, image_files
from wsol.data.rows import read_lines
from wsol.errors import InputError, counted, first_line, listed
from wsol.files import exists, is_dir, is_file
from wsol.pace import paced
from wsol.schema import FilePath

EXAMPLE = "annotations=data.yaml"
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


def read(config: Config) -> Source:
    """Find the images and read their text files.

    Raises:
        InputError: a file is missing or damaged; the message has the file and the line.
    """
    path = Path(config.annotations)
    if not exists(path):
        raise InputError(f"{path}: no such file or folder; name a data.yaml, or the folder of the text files")
    labels = absolute(path) if is_dir(path) else None
    said = DataYaml(path, {}, {}) if labels else data_yaml.read(path)
    root = Path(config.images) if config.images else said.base
    if not is_dir(root):
        raise InputError(f"{root}: no such folder; name the folder of the images with images=DIR")
    root = absolute(root)
    places, shares, notes = _places(config, said)
    notes = [*said.notes, *notes]
    require_different(places)
    files = _files(places, root, notes)
    text_of = {image: _text_file(image, root, labels) for image in files}
    names = _names(config, said.names, {text.parent for text in text_of.values()} | {path})
    shown = paced(files, f"reading text files of {path}", len(files), "files")
    images = [_listed(image, root, text_of[image], files[image], names) for image in shown]
    lists = [place for entries in places.values() for place in entries] + [Path(config.classes or path)]
    notes += _twins(text_of)
    notes += _unused(_texts(text_of, labels) - {*text_of.values(), *map(absolute, lists)}, root, labels)
    used = sorted({int(found.category) for image in images for found in image.objects})
    classes = {str(number): names.get(number, str(number)) for number in sorted({*names, *used})}
    return Source(classes, "the order of their numbers", images, root, shares, notes=notes)


def _places(config: Config, said: DataYaml) -> tuple[dict[str, list[Path]], dict[str, float], list[str]]:
    """Split or `POOL`, which is last -> places of images; split -> share to draw; and notes on what was decided."""
    places: dict[str, list[Path]] = {}
    shares: dict[str, float] = {}
    for split, default in (("val", 0.1), ("test", 0.2)):
        value, there = getattr(config, split), said.places.get(split)
        if isinstance(value, str):
            places[split] = [Path(value)]
        elif value is None and there is not None:
            places[split] = there
        else:
            shares[split] = default if value is None else value
    if config.train is not None:
        return {**places, POOL: [Path(config.train)]}, shares, []
    pool, notes = [*said.places.get("train", [])], []
    named = {place for entries in places.values() for place in entries}
    for split, share in shares.items():
        free = [place for place in said.places.get(split, []) if place not in named]
        if free:
            pool += free
            notes.append(f"images of {split} in {config.annotations} are drawn from, as {split}={share:g} says")
    return {**places, POOL: pool}, shares, notes


def _files(places: dict[str, list[Path]], root: Path, notes: list[str]) -> dict[Path, str]:
    """Image file -> split or `POOL`. A training folder may hold images of val and test, which are theirs."""
    found: dict[Path, str] = {}
    for split, entries in places.items():
        for place in entries or [root]:
            paths = [place / name for name in image_files(place)] if is_dir(place) else _in_list(place, root, notes)
            if not paths:
                raise InputError(f"{place}: holds no image; name a folder of images, or a list of them")
            paths = [_below(root, path) for path in paths]
            taken = [path for path in paths if found.setdefault(path, split) != split]
            if taken and (split != POOL or not is_dir(place)):
                raise InputError(f"{place}: {taken[0].name} is in {found[taken[0]]} too; name each image once")
            if taken and entries:
                notes.append(f"not for training: {counted(len(taken), 'image')} of {place}, which val or test list")
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


def _below(root: Path, path: Path) -> Path:
    """An image as a path that begins with the root, whether a list writes it so or through links."""
    for image, folder in ((absolute(path), root), (path.resolve(), root.resolve())):
        if image.is_relative_to(folder):
            return root / image.relative_to(folder)
    raise InputError(f"{path}: lies outside of {root}; name a folder that holds all images with images=DIR")


def _text_file(image: Path, root: Path, labels: Path | None) -> Path:
    """The text file with the rows of an image; it need not exist."""
    if labels is not None:
        return labels / image.relative_to(root).with_suffix(".txt")
    beside = image.with_suffix(".txt")
    other = _swapped(beside, "images", "labels")
    return other if other is not None and (is_file(other) or not is_file(beside)) else beside


def _swapped(path: Path, name: str, other: str) -> Path | None:
    """The path with another name for the last folder of a name; None if it has no such folder."""
    before, separator, after = str(path).rpartition(f"/{name}/")
    return Path(f"{before}/{other}/{after}") if separator else None


def _twins(text_of: dict[Path, Path]) -> Iterator[str]:
    """A note about images that differ only in their ending, which have one text file."""
    images = Counter(text_of.values())
    if twins := [image.name for image, text in text_of.items() if images[text] > 1 and is_file(text)]:
        yield f"{counted(len(twins), 'image')} that differ only in their ending share text files ({listed(twins)})"


def _texts(text_of: dict[Path, Path], labels: Path | None) -> set[Path]:
    """All text files of rows: those in the folders where images have theirs, and below."""
    used = {text: image for image, text in text_of.items() if is_file(text)}
    tops = {
        text.parent if text.parent == image.parent else Path(str(text).rpartition("/labels/")[0], "labels")
        for text, image in used.items()
    }
    found = {text for top in ([labels] if labels else tops) for text in files_below(top, (".txt",))}
    return {text for text in found if text.name not in NAMES}


def _unused(texts: set[Path], root: Path, labels: Path | None) -> Iterator[str]:
    """Notes about text files whose image is in no split, or that have none."""
    image_of: dict[Path, Path] = {}
    for text in texts:
        place = root / text.relative_to(labels) if labels else text
        image_of |= {found.with_suffix(""): text for found in (place, _swapped(place, "labels", "images")) if found}
    folders = filter(is_dir, {image.parent for image in image_of})
    there = {path.with_suffix("") for folder in folders for path in folder.iterdir() if path.suffix.lower() in ENDINGS}
    unlisted = {text for image, text in image_of.items() if image in there}
    if unlisted:
        names = listed(sorted(text.stem for text in unlisted))
        yield f"left out: {counted(len(unlisted), 'image')} in no list of train, val and test ({names})"
    if texts - unlisted:
        names = listed(sorted(text.name for text in texts - unlisted))
        yield f"left out: {counted(len(texts - unlisted), 'text file')} without an image ({names})"


def _names(config: Config, said: dict[int, str], folders: set[Path]) -> dict[int, str]:
    """Class names by number."""
    if said and config.classes is None:
        return {number: name.strip() for number, name in said.items()}
    files = [folder / name for folder in sorted(folders) for name in NAMES if is_file(folder / name)]
    found: dict[int, str] = {}
    for path in [Path(config.classes)] if config.classes else files:
        try:
            names = dict(enumerate(line.strip() for line in read_lines(path)))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file of class names; correct classes=FILE") from None
        if found and names != found:
            raise InputError(f"{path}: has other names than {files[0]}; say with classes=FILE which are right")
        found = names
    return found


def _listed(image: Path, root: Path, text: Path, split: str, names: dict[int, str]) -> Listed:
    objects = tuple(_objects(text, names)) if is_file(text) else ()
    return Listed(str(text), (image.relative_to(root).as_posix(),), objects, split=split, relative=True)


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
