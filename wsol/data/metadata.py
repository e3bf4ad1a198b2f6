"""Strict reader and writer of the metadata of one split, in the format of `clovaai/wsolevaluation` (Choe et al., CVPR
2020).

Four comma separated text files without header, in one folder per split; UTF-8, or UTF-16 with its mark:

    image_ids.txt       <image id>                      path below the image root, with its ending; fixes the order
    class_labels.txt    <image id>,<label>              0-based
    image_sizes.txt     <image id>,<width>,<height>     pixels of the original image; empty for data sets with masks
    localization.txt    <image id>,<x0>,<y0>,<x1>,<y1>  inclusive corners in pixels; a row per box, several per image
                 or     <image id>,<mask>,<ignore>      paths below the mask root; the ignored region, if there is one,
                                                        on the first row of an image only
                 or     <image id>,<mask>               in all rows: no image has an ignored region

A split with boxes may have masks beside them, in a fifth file of the form of `localization.txt`:

    masks.txt           <image id>,<mask>,<ignore>

Image ids and mask paths are written with `/` and must stay inside of their root, so that a file written under such a
name below another folder stays inside of that folder.

Published copies of these files are sometimes cut short. Therefore every defect is an error that names file and line;
nothing is skipped silently. Rows of images that `image_ids.txt` does not list are checked and then ignored: a subset is
made by shortening that file alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsol.data import columns
from wsol.data.rows import (
    COPY_AGAIN,
    LARGEST,
    Rows,
    integer,
    located,
    read_lines,
    read_rows,
    require_fields,
    require_inside,
    unique,
)
from wsol.errors import InputError
from wsol.files import write_text

IDS, LABELS, SIZES, LOCALIZATION = "image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"
MASKS = "masks.txt"
"""The file of masks beside the boxes of `localization.txt`; few splits have it."""

FORMATS = {
    IDS: "<image id>",
    LABELS: "<image id>,<label>",
    SIZES: "<image id>,<width>,<height>",
    LOCALIZATION: "<image id>,<x0>,<y0>,<x1>,<y1> or <image id>,<mask path>,<ignore path>",
}
MASK_FORMAT = {MASKS: "<image id>,<mask path>,<ignore path>"}
MAX_CLASSES = 10**6
CLASS_NAMES = "class_names.txt"
"""The file of class names beside the folders of the splits; only for the user's own data sets."""

T = TypeVar("T")
Int64 = NDArray[np.int64]
MaskPaths = tuple[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Metadata:
    """One split. N images, in the order of `image_ids.txt`.

    Attributes:
        folder: the folder of the four files.
        image_ids: N unique names.
        labels: (N,) int64, 0-based.
        sizes: (N, 2) int64, width and height in pixels; None if the data set has none.
        boxes: N arrays (n, 4) int64, inclusive corners x0 y0 x1 y1 in pixels, n >= 1; None where there are masks only
            and for training splits.
        masks: N pairs (instance mask paths, ignore path, empty where nothing is ignored); None where there are none and
            for training splits. Few splits have both boxes and masks.
    """

    folder: Path
    image_ids: tuple[str, ...]
    labels: Int64
    sizes: Int64 | None
    boxes: tuple[Int64, ...] | None
    masks: tuple[MaskPaths, ...] | None


def read(folder: Path, *, annotated: bool, num_classes: int | None = None) -> Metadata:
    """Read and check the metadata of one split.

    Args:
        folder: holds the files.
        annotated: False for training splits, whose sizes may be absent and whose localisation is not read.
        num_classes: labels must be below this number; None: any label from 0 is allowed.

    Raises:
        InputError: a file is missing, a row is malformed, a listed image has no label, size, box or mask, or masks are
            in two files.
    """
    ids = columns.image_ids(folder / IDS) or _read_ids(folder / IDS)
    labels = _labels(folder / LABELS, ids, num_classes or MAX_CLASSES)
    rows = read_rows(folder / LOCALIZATION, FORMATS) if annotated else []
    with_masks = 2 * sum(len(fields) in (2, 3) for _, fields in rows) > len(rows)  # the first row may be the broken one
    sizes = None if annotated else columns.numbers(folder / SIZES, ids, 2, range(1, LARGEST + 1))
    needs_sizes = sizes is None and ((annotated and not with_masks) or (folder / SIZES).exists())
    size_of = _read_sizes(folder / SIZES) if needs_sizes else {}
    boxes, masks = None, None
    if annotated and with_masks:
        masks = tuple(_in_order(ids, _read_masks(folder / LOCALIZATION, rows, FORMATS), folder / LOCALIZATION, "mask"))
    elif annotated:
        found = _in_order(ids, _read_boxes(folder / LOCALIZATION, rows, size_of), folder / LOCALIZATION, "box")
        boxes = tuple(np.array(image_boxes, dtype=np.int64) for image_boxes in found)
    if annotated and (folder / MASKS).exists():
        masks = _masks_beside_boxes(folder / MASKS, ids, with_masks=with_masks)
    if boxes is not None or size_of:
        sizes = np.array(_in_order(ids, size_of, folder / SIZES, "image size"), dtype=np.int64)
    return Metadata(folder, tuple(ids), labels, sizes, boxes, masks)


def _masks_beside_boxes(path: Path, ids: list[str], *, with_masks: bool) -> tuple[MaskPaths, ...]:
    if with_masks:
        raise InputError(f"{path}: {LOCALIZATION} beside it has masks already; remove one of the two files")
    rows = read_rows(path, MASK_FORMAT)
    return tuple(_in_order(ids, _read_masks(path, rows, MASK_FORMAT), path, "mask"))


def write(folder: Path, metadata: Metadata) -> None:
    """Write the four files, and the file of masks if there are boxes too, each under a temporary name first.
    `image_ids.txt` comes last, so a folder that has it is complete.

    Args:
        folder: the folder, which is made if absent; existing files are replaced. `metadata.folder` is not used.
        metadata: the content, as `read` returns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = metadata.image_ids
    _write_lines(
        folder / LABELS, (f"{name},{label}" for name, label in zip(ids, metadata.labels.tolist(), strict=True))
    )
    sizes = [] if metadata.sizes is None else zip(ids, metadata.sizes.tolist(), strict=True)
    _write_lines(folder / SIZES, (f"{name},{width},{height}" for name, (width, height) in sizes))
    _write_lines(folder / LOCALIZATION, _mask_lines(metadata) if metadata.boxes is None else _box_lines(metadata))
    if metadata.boxes is None or metadata.masks is None:
        (folder / MASKS).unlink(missing_ok=True)
    else:
        write_masks(folder, metadata)
    _write_lines(folder / IDS, ids)


def write_masks(folder: Path, metadata: Metadata) -> None:
    """Write the masks of a split into the file beside that of its boxes."""
    _write_lines(folder / MASKS, _mask_lines(metadata))


def read_class_names(folder: Path) -> list[str]:
    """The lines of `class_names.txt`, in the order of the labels; raises InputError if it is not text or a line is
    empty."""
    names = read_lines(folder / CLASS_NAMES)
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise InputError(f"{folder / CLASS_NAMES}:{number}: empty line between names; write the name of a class")
    return names


def write_class_names(folder: Path, names: Iterable[str]) -> None:
    """Write `class_names.txt`, one name per line."""
    _write_lines(folder / CLASS_NAMES, names)


def _box_lines(metadata: Metadata) -> Iterator[str]:
    for name, boxes in zip(metadata.image_ids, metadata.boxes or (), strict=True):
        yield from (f"{name},{x0},{y0},{x1},{y1}" for x0, y0, x1, y1 in boxes.tolist())


def _mask_lines(metadata: Metadata) -> Iterator[str]:
    for name, (paths, ignore) in zip(metadata.image_ids, metadata.masks or (), strict=metadata.masks is not None):
        yield from (
            f"{name},{path},{ignore if first else ''}"
            for first, path in zip([True] + [False] * len(paths), paths, strict=False)
        )


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_text(path, "\n".join(lines))  # like the published files: no newline after the last row


def _read_ids(path: Path) -> list[str]:
    rows = read_rows(path, FORMATS, fields=1)
    if not rows:
        raise InputError(f"{path}: no image is listed: the split is empty; every line is one {FORMATS[IDS]}")
    return list(unique(path, rows, lambda fields: require_inside(fields[0])))


def _labels(path: Path, ids: list[str], classes: int) -> Int64:
    found = columns.numbers(path, ids, 1, range(classes))
    if found is not None:
        return found[:, 0]
    return np.array(_in_order(ids, _read_labels(path, classes), path, "class label"), dtype=np.int64)


def _read_labels(path: Path, classes: int) -> dict[str, int]:
    def label(fields: list[str]) -> int:
        value = integer(fields[1], "class label")
        if value < 0:
            raise ValueError(f"class label {value} is negative; labels start at 0")
        if value >= classes:
            raise ValueError(f"class label {value} is too large: with {classes} classes labels are 0 to {classes - 1}")
        return value

    return unique(path, read_rows(path, FORMATS, fields=2), label)


def _read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    def size(fields: list[str]) -> tuple[int, int]:
        width, height = integer(fields[1], "width"), integer(fields[2], "height")
        if width < 1 or height < 1:
            raise ValueError(f"image size {width} x {height} is not positive")
        return width, height

    return unique(path, read_rows(path, FORMATS, fields=3), size)


def _read_boxes(
    path: Path, rows: Rows, size_of: dict[str, tuple[int, int]]
) -> dict[str, list[tuple[int, int, int, int]]]:
    boxes: dict[str, list[tuple[int, int, int, int]]] = {}
    for line, fields in rows:
        require_fields(path, line, fields, FORMATS, 5)
        with located(path, line):
            boxes.setdefault(fields[0], []).append(_box(fields, size_of.get(fields[0])))
    return boxes


def _box(fields: list[str], size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    name, x0, y0, x1, y1 = fields[0], *(integer(text, "box corner") for text in fields[1:])
    if x0 > x1 or y0 > y1:
        raise ValueError(
            f"the box {x0},{y0},{x1},{y1} of {name} is reversed; rows are x0,y0,x1,y1 with x0 <= x1 and y0 <= y1"
        )
    width, height = size or (x1 + 1, y1 + 1)
    if x0 < 0 or y0 < 0 or x1 >= width or y1 >= height:
        raise ValueError(
            f"the box {x0},{y0},{x1},{y1} leaves its image {name} of {width} x {height} pixels; corners are inclusive"
            " and start at 0"
        )
    return x0, y0, x1, y1


def _read_masks(path: Path, rows: Rows, formats: dict[str, str]) -> dict[str, MaskPaths]:
    paths: dict[str, list[str]] = {}
    ignores: dict[str, str] = {}
    expected = max((len(fields) for _, fields in rows if len(fields) in (2, 3)), default=3)
    for line, fields in rows:
        require_fields(path, line, fields, formats, expected)
        name, mask, ignore = (*fields, "")[:3]
        with located(path, line):
            _check_mask(name, mask, ignore, first=name not in paths)
        paths.setdefault(name, []).append(mask)
        ignores.setdefault(name, ignore)
    return {name: (tuple(paths[name]), ignores[name]) for name in paths}


def _check_mask(name: str, mask: str, ignore: str, *, first: bool) -> None:
    if not mask:
        raise ValueError(f"the mask path of {name} is empty")
    if ignore and not first:
        raise ValueError(
            f"a second ignore path for {name}; only the first row of an image has one, later rows end with a comma"
        )
    for path in filter(None, (mask, ignore)):
        require_inside(path)


def _in_order(ids: list[str], values: dict[str, T], path: Path, what: str) -> list[T]:
    missing = [(line, name) for line, name in enumerate(ids, start=1) if name not in values]
    if missing:
        line, name = missing[0]
        raise InputError(
            f"{path}: no {what} for {name} ({IDS}:{line}), and {len(missing)} of {len(ids)} images have none;"
            f" {COPY_AGAIN}"
        )
    return [values[name] for name in ids]
