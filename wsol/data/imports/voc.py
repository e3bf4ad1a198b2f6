"""XML of PASCAL VOC, one file per image, as LabelImg, CVAT and Roboflow write it too.

*Boxes.* The corners are pixels, both inside of the box, and VOC counts them from 1: 1 1 5 5 are the pixels 0 to 4 of
the metadata. For tools that count from 0, set `first_pixel=0`. Fractions of a pixel are rounded.

*Images.* The image of `a/b.xml` is `a/b` with any ending of an image, below `images`; else the file that its `filename`
names.

*Classes.* In the order of their names.

*Left out.* Objects marked `difficult`, as VOC's own evaluation does. Parts of objects, and the masks that `segmented`
announces, are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from wsol.data.decoding import Side
from wsol.data.imports import annotations as shared
from wsol.data.imports.annotations import FARTHEST, POOL, Edges, Listed, Object, Source, read_bytes, require_different
from wsol.data.imports.locating import files_below
from wsol.data.rows import read_lines
from wsol.errors import InputError, counted, listed
from wsol.files import is_dir
from wsol.pace import paced
from wsol.schema import FilePath

EXAMPLE = "annotations=VOC2012/Annotations images=VOC2012/JPEGImages test=0.2 val=0.1"
LARGEST_FILE = 16 * 2**20


class Config(shared.Config):
    """Settings of this format. The list of a split's images is a text file of `ImageSets/Main`, or a folder of XML
    files below `annotations`.

    Attributes:
        train: lists the training images; null: all that are in no other split.
        first_pixel: the coordinate of the first pixel, 1 or 0.
    """

    train: FilePath | None = None
    first_pixel: Literal[0, 1] = 1


class _WithoutEntities(TreeBuilder):
    """Refuses files that define entities, which can expand without limit."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Called at a DOCTYPE, before anything in it is read."""
        raise ValueError("has a DOCTYPE, which annotations need not have; delete it")


def read(config: Config) -> Source:
    """Read all files below `annotations`.

    Raises:
        InputError: a file is damaged or no annotation of VOC; the message has the file and the place in it.
    """
    root = Path(config.annotations)
    if not is_dir(root):
        raise InputError(f"{root}: no such folder; name the folder of the XML files, such as VOC2012/Annotations")
    found = sorted(files_below(root, (".xml",)))
    if not found:
        raise InputError(f"{root}: holds no XML file; name the folder of the annotations")
    files = {path.relative_to(root).with_suffix("").as_posix(): path for path in found}
    require_different({split: [path] for split, path in config.lists.items()})
    split_of, notes = _split_of(config.lists, files)
    images = [
        _listed(path, stem, split_of.get(stem, POOL), config.first_pixel)
        for stem, path in paced(files.items(), f"reading {root}", len(files), "files")
        if stem in split_of or config.train is None
    ]
    if len(images) < len(files):
        notes.append(f"left out: {counted(len(files) - len(images), 'image')} in no list of train, val and test")
    names = sorted({found.category for image in images for found in image.objects})
    classes = {name: name for name in names}
    order = "the order of their names"
    root, shares = Path(config.images), config.shares
    return Source(classes, order, images, root, shares, hidden="difficult object", notes=notes)


def _split_of(given: dict[str, Path], files: dict[str, Path]) -> tuple[dict[str, str], list[str]]:
    """Stem -> split, and notes about names without a file."""
    found: dict[str, str] = {}
    notes: list[str] = []
    for split, path in given.items():
        stems = _stems(path, files)
        missing = [stem for stem in stems if stem not in files]
        if len(missing) == len(stems):
            raise InputError(f"{path}: none of its {len(stems)} names has an XML file, such as {listed(stems[:1])}")
        if missing:
            notes.append(f"left out: {counted(len(missing), 'name')} of {path} without an XML file ({listed(missing)})")
        for stem in stems:
            if found.setdefault(stem, split) != split:
                raise InputError(f"{path}: {stem} is in {found[stem] or 'train'} too; an image belongs to one split")
    return {stem: split for stem, split in found.items() if stem in files}, notes


def _stems(path: Path, files: dict[str, Path]) -> list[str]:
    if is_dir(path):
        inside = path.resolve()
        return [stem for stem, file in files.items() if inside in file.resolve().parents] or [path.name]
    try:
        lines = [line.strip() for line in read_lines(path)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such list of images; name a file of ImageSets/Main, or a share") from None
    return [line for line in lines if line] or [path.name]


def _listed(path: Path, stem: str, split: str, first_pixel: int) -> Listed:
    tree = _parsed(path)
    objects = tuple(_objects(path, tree, first_pixel))
    name = (tree.findtext("filename") or "").strip()
    folder = stem.rpartition("/")[0]
    names = (f"{folder}/{name}".lstrip("/"), name) if name else ()
    return Listed(str(path), names, objects, _size(path, tree), split, stem=stem)


def _parsed(path: Path) -> Element:
    parser = XMLParser(target=_WithoutEntities())
    try:
        parser.feed(read_bytes(path, LARGEST_FILE))
        tree: Element = parser.close()
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: cannot be read as XML ({error}); get the file again") from None
    if tree.tag != "annotation":
        raise InputError(f"{path}: begins with <{tree.tag}>, annotations of VOC with <annotation>")
    return tree


def _size(path: Path, tree: Element) -> Side | None:
    """Some tools write 0, or nothing, where they do not know."""
    size = tree.find("size")
    if size is None or not all((size.findtext(side) or "").strip() for side in ("width", "height")):
        return None
    width, height = (int(_number(path, size, side, "size")) for side in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None


def _objects(path: Path, tree: Element, first_pixel: int) -> Iterator[Object]:
    for number, found in enumerate(tree.findall("object"), start=1):
        where = f"object {number}"
        name = (found.findtext("name") or "").strip()
        if not name:
            raise InputError(f"{path}: {where}: has no name; name its class")
        box = found.find("bndbox")
        if box is None:
            raise InputError(f"{path}: {where}: has no bndbox; export boxes, or delete the object")
        left, top, right, bottom = (_number(path, box, side, where) for side in ("xmin", "ymin", "xmax", "ymax"))
        edges: Edges = (left - first_pixel, top - first_pixel, right - first_pixel + 1, bottom - first_pixel + 1)
        difficult = (found.findtext("difficult") or "").strip() not in ("", "0", "false", "False")
        yield Object(f"{path}: {where}", name, edges, hidden=difficult)


def _number(path: Path, element: Element, name: str, where: str) -> float:
    text = (element.findtext(name) or "").strip()
    try:
        value = float(text)
        if abs(value) < FARTHEST:
            return value
    except ValueError:
        pass
    raise InputError(f"{path}: {where}: {name} is {text[:40]!r} and should be a number of pixels")
