"""Strict reader and writer of the metadata of one split, in the format of `clovaai/wsolevaluation` (Choe et al., CVPR
2020).

Four comma separated text files without header, in one folder per split:

    image_ids.txt       <image id>                      path of the image relative to the image root, extension
    included; fixes the order class_labels.txt    <image id>,<label>              0-based
    image_sizes.txt     <image id>,<width>,<height>     pixels of the original image; empty for data sets with masks
    localization.txt    <image id>,<x0>,<y0>,<x1>,<y1>  inclusive corners in pixels; one row per box, several per image
    allowed
                 or     <image id>,<mask>,<ignore>      paths relative to the mask root; the ignore path only on the
                 first row of an image

Published copies of these files are sometimes cut short. So every defect is an error that names file and line; nothing
is skipped silently. Rows of images that `image_ids.txt` does not list are checked and then ignored: a subset is made by
shortening that file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.files import write_text

IDS, LABELS, SIZES, LOCALIZATION = "image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"
FORMATS = {
    IDS: "<image id>",
    LABELS: "<image id>,<label>",
    SIZES: "<image id>,<width>,<height>",
    LOCALIZATION: "<image id>,<x0>,<y0>,<x1>,<y1> or <image id>,<mask path>,<ignore path>",
}
COPY_AGAIN = "the file may be cut short: copy it again from its source"

T = TypeVar("T")
Int64 = NDArray[np.int64]
Rows = list[tuple[int, list[str]]]
MaskPaths = tuple[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Metadata:
    """One split. N images, in the order of `image_ids.txt`.

    Attributes:
        folder: where the four files are.
        image_ids: N unique names.
        labels: (N,) int64, 0-based.
        sizes: (N, 2) int64, width and height in pixels; None where the data set has none.
        boxes: N arrays (n, 4) int64, inclusive corners x0 y0 x1 y1 in pixels, n >= 1; None for masks and for training
            splits.
        masks: N pairs (instance mask paths, ignore path); None for boxes and for training splits.
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
        folder: holds the four files.
        annotated: False for training splits, whose sizes may be absent and whose localisation is not read.
        num_classes: labels must be below; None: any label from 0 is right.

    Raises:
        InputError: a file is missing, a row is malformed, or a listed image has no label, size, box or mask.
    """
    ids = _read_ids(folder / IDS)
    labels = _in_order(ids, _read_labels(folder / LABELS, num_classes), folder / LABELS, "class label")
    rows = _rows(folder / LOCALIZATION) if annotated else []
    with_masks = 2 * sum(len(fields) == 3 for _, fields in rows) > len(
        rows
    )  # by majority: the first row may be the broken one
    size_of = _read_sizes(folder / SIZES) if (annotated and not with_masks) or (folder / SIZES).exists() else {}
    boxes, masks = None, None
    if annotated and with_masks:
        masks = tuple(_in_order(ids, _read_masks(folder / LOCALIZATION, rows), folder / LOCALIZATION, "mask"))
    elif annotated:
        found = _in_order(ids, _read_boxes(folder / LOCALIZATION, rows, size_of), folder / LOCALIZATION, "box")
        boxes = tuple(np.array(image_boxes, dtype=np.int64) for image_boxes in found)
    needs_sizes = boxes is not None or bool(size_of)
    sizes = np.array(_in_order(ids, size_of, folder / SIZES, "image size"), dtype=np.int64) if needs_sizes else None
    return Metadata(folder, tuple(ids), np.array(labels, dtype=np.int64), sizes, boxes, masks)


def write(folder: Path, metadata: Metadata) -> None:
    """Write the four files, each to a temporary name first; `image_ids.txt` comes last, so a folder that has it is
    complete.

    Args:
        folder: made if absent; existing files are replaced. `metadata.folder` is not used.
        metadata: what `read` returns again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = metadata.image_ids
    _write_lines(
        folder / LABELS, (f"{name},{label}" for name, label in zip(ids, metadata.labels.tolist(), strict=True))
    )
    sizes = [] if metadata.sizes is None else zip(ids, metadata.sizes.tolist(), strict=True)
    _write_lines(folder / SIZES, (f"{name},{width},{height}" for name, (width, height) in sizes))
    _write_lines(folder / LOCALIZATION, _localization_lines(metadata))
    _write_lines(folder / IDS, ids)


def _localization_lines(metadata: Metadata) -> Iterator[str]:
    for name, boxes in zip(metadata.image_ids, metadata.boxes or (), strict=metadata.boxes is not None):
        yield from (f"{name},{x0},{y0},{x1},{y1}" for x0, y0, x1, y1 in boxes.tolist())
    for name, (paths, ignore) in zip(metadata.image_ids, metadata.masks or (), strict=metadata.masks is not None):
        yield from (
            f"{name},{path},{ignore if first else ''}"
            for first, path in zip([True] + [False] * len(paths), paths, strict=False)
        )


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_text(path, "\n".join(lines))  # like the published files: no newline after the last row


def _read_ids(path: Path) -> list[str]:
    rows = _rows(path, fields=1)
    if not rows:
        raise InputError(f"{path}: no image is listed: the split is empty; every line is one {FORMATS[IDS]}")
    return list(_unique(path, rows, lambda fields: None))


def _read_labels(path: Path, num_classes: int | None) -> dict[str, int]:
    def label(fields: list[str]) -> int:
        value = _integer(fields[1], "class label")
        if value < 0:
            raise ValueError(f"class label {value} is negative; labels start at 0")
        if num_classes is not None and value >= num_classes:
            raise ValueError(
                f"class label {value} is too large: with {num_classes} classes labels are 0 to {num_classes - 1}"
            )
        return value

    return _unique(path, _rows(path, fields=2), label)


def _read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    def size(fields: list[str]) -> tuple[int, int]:
        width, height = _integer(fields[1], "width"), _integer(fields[2], "height")
        if width < 1 or height < 1:
            raise ValueError(f"image size {width} x {height} is not positive")
        return width, height

    return _unique(path, _rows(path, fields=3), size)


def _read_boxes(
    path: Path, rows: Rows, size_of: dict[str, tuple[int, int]]
) -> dict[str, list[tuple[int, int, int, int]]]:
    boxes: dict[str, list[tuple[int, int, int, int]]] = {}
    for line, fields in rows:
        _require_fields(path, line, fields, 5)
        with _located(path, line):
            boxes.setdefault(fields[0], []).append(_box(fields, size_of.get(fields[0])))
    return boxes


def _box(fields: list[str], size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    name, x0, y0, x1, y1 = fields[0], *(_integer(text, "box corner") for text in fields[1:])
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


def _read_masks(path: Path, rows: Rows) -> dict[str, MaskPaths]:
    paths: dict[str, list[str]] = {}
    ignores: dict[str, str] = {}
    for line, fields in rows:
        _require_fields(path, line, fields, 3)
        name, mask, ignore = fields
        with _located(path, line):
            _check_mask(name, mask, ignore, first=name not in paths)
        paths.setdefault(name, []).append(mask)
        ignores.setdefault(name, ignore)
    return {name: (tuple(paths[name]), ignores[name]) for name in paths}


def _check_mask(name: str, mask: str, ignore: str, *, first: bool) -> None:
    if not mask:
        raise ValueError(f"the mask path of {name} is empty")
    if first and not ignore:
        raise ValueError(f"the first row of {name} has no ignore path; every image has exactly one")
    if ignore and not first:
        raise ValueError(
            f"a second ignore path for {name}; only the first row of an image has one, later rows end with a comma"
        )


def _rows(path: Path, fields: int | None = None) -> Rows:
    """Line numbers (from 1) and fields of all rows; blank lines at the end do not count."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a split needs {', '.join(FORMATS)}, see `data prepare`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    rows = [(number, line.split(",")) for number, line in enumerate(lines, start=1)]
    for number, row in rows:
        if not row[0].strip() or (fields is not None and len(row) != fields):
            _require_fields(path, number, row, fields)
    return rows


def _require_fields(path: Path, line: int, row: list[str], fields: int | None) -> None:
    if row == [""]:
        raise InputError(f"{path}:{line}: empty line between rows; remove it")
    if not row[0].strip():
        raise InputError(f"{path}:{line}: the image id is empty; rows are {FORMATS[path.name]}")
    if len(row) != fields:
        count = f"{len(row)} field{'s' if len(row) != 1 else ''} instead of {fields}"
        raise InputError(f"{path}:{line}: {count}; rows are {FORMATS[path.name]}; {COPY_AGAIN}")


def _unique(path: Path, rows: Rows, parse: Callable[[list[str]], T]) -> dict[str, T]:
    values: dict[str, T] = {}
    for line, fields in rows:
        if fields[0] in values:
            raise InputError(f"{path}:{line}: {fields[0]} is listed twice; remove one of the rows")
        with _located(path, line):
            values[fields[0]] = parse(fields)
    return values


@contextmanager
def _located(path: Path, line: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise InputError(f"{path}:{line}: {error}") from None


def _in_order(ids: list[str], values: dict[str, T], path: Path, what: str) -> list[T]:
    missing = [(line, name) for line, name in enumerate(ids, start=1) if name not in values]
    if missing:
        line, name = missing[0]
        raise InputError(
            f"{path}: no {what} for {name} ({IDS}:{line}), and {len(missing)} of {len(ids)} images have none;"
            f" {COPY_AGAIN}"
        )
    return [values[name] for name in ids]


def _integer(text: str, what: str) -> int:
    """`int` would also accept blanks, underscores and foreign digits."""
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ValueError(f"the {what} {text!r} is no integer")
    return int(text)
