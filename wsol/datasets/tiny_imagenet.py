"""Tiny ImageNet: 200 classes of real photographs at 64 x 64 pixels, each with one box, in one public archive of 237 MB.

*Source.* http://cs231n.stanford.edu/tiny-imagenet-200.zip (Stanford CS231N). A subset of ImageNet (Russakovsky et al.,
IJCV 2015), so ImageNet's terms hold: for non-commercial research and education.

*Archive.* `tiny-imagenet-200/`: `wnids.txt` (the classes, in the order of our labels), `words.txt` (their names),
`train/<wnid>/images/*.JPEG` with `<wnid>_boxes.txt`, `val/images/*.JPEG` with `val_annotations.txt`; boxes are
inclusive corners x0 y0 x1 y1 in 0..63. An archive of the same layout with fewer classes works as well. The official
test images have no published labels and are left out.

*Splits.* The field has none for this data set; ours: of each class the 50 training images (`fullsup_split_per_class`)
whose file names have the smallest SHA-256 are train_fullsup, which needs no random generator and so never changes; the
other 450 are train_weaksup; the official validation images, 50 per class, are test.

*Layout.* `<root>/tiny_imagenet/` with the archive's folders and `metadata/{train,val,test}`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from wsol.data import archives, metadata
from wsol.data.dataset import Dataset, Sizes, prepare_command
from wsol.data.metadata import Metadata
from wsol.data.rows import integer, read_lines
from wsol.data.tree import check_tree
from wsol.datasets import _prepare
from wsol.errors import InputError
from wsol.schema import DatasetConfig, FilePath

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
ARCHIVE_FOLDER = "tiny-imagenet-200"
ARCHIVE = _prepare.Archive(f"{ARCHIVE_FOLDER}.zip", f"the images, from {URL}", folders=(ARCHIVE_FOLDER,), url=URL)
SIDE = 64

Row = tuple[str, int, list[int]]
"""image id, label, box"""


class Config(DatasetConfig):
    """Tiny ImageNet.

    Attributes:
        metadata: another folder with train, val and test; null: the one that `prepare` writes.
        fullsup_split_per_class: training images of each class that become train_fullsup; `prepare` uses it.
    """

    name: Literal["tiny_imagenet"] = "tiny_imagenet"
    image_size: int = Field(default=64, ge=8, le=4096)
    resize_size: int = Field(default=72, ge=8, le=4096)
    metadata: FilePath | None = None
    fullsup_split_per_class: int = Field(default=50, ge=1, le=499)


def build(config: Config) -> Dataset:
    """The prepared data set; raises InputError where it is not there or was prepared with another split."""
    return _at(_folder(config), config)


def _at(folder: Path, config: Config) -> Dataset:
    if not (folder / "wnids.txt").is_file():
        raise InputError(f"{folder / 'wnids.txt'}: no such file; run `{prepare_command(config)}`")
    wnids = _lines(folder / "wnids.txt")
    words = {wnid: text for wnid, _, text in (line.partition("\t") for line in _lines(folder / "words.txt"))}
    tree = Path(config.metadata) if config.metadata else folder / "metadata"
    if not config.metadata:
        _require_split(tree, config, len(wnids))
    names = [words.get(wnid, wnid).split(",")[0] for wnid in wnids]
    return Dataset(config, images=folder, metadata=tree, class_names=names)


def sizes(config: Config) -> Sizes:
    """Those of the public archive."""
    return Sizes(200, 200 * (500 - config.fullsup_split_per_class), 200 * config.fullsup_split_per_class, 200 * 50)


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Unpack, split, write the metadata, verify. A second call verifies only, and splits again if the setting changed.

    Args:
        config: root folder and split.
        source: the archive, the unpacked folder, or the folder that holds one of them; None downloads the archive.
        log: gets lines of progress.

    Raises:
        InputError: something is missing or damaged, and how to get it.
    """
    folder = _folder(config)
    if folder.is_dir():
        _write_metadata(folder, config)
        check_tree(build(config), log)
        return
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    _bring(_source(config, source, log), temporary, log)
    _write_metadata(temporary, config)
    check_tree(_at(temporary, config), log)
    temporary.rename(folder)


def _folder(config: Config) -> Path:
    return Path(config.root) / "tiny_imagenet"


def _source(config: Config, source: Path | None, log: Callable[[str], None]) -> Path:
    if source is not None and (source.is_file() or (source / "wnids.txt").is_file()):
        return source
    return _prepare.obtain(config, source, ARCHIVE, log)


def _bring(source: Path, target: Path, log: Callable[[str], None]) -> None:
    """The archive's folder as `target`."""
    if source.is_dir():
        log(f"copying {source}")
        with archives.readable(source):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("test"))
        return
    unpacked = target.with_name(f"{target.name}.unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
    archives.unpack(source, unpacked, log)
    inner = unpacked / ARCHIVE_FOLDER
    if not (inner / "wnids.txt").is_file():
        raise InputError(f"{source}: holds no {ARCHIVE_FOLDER}/wnids.txt; expected the archive {URL}")
    shutil.rmtree(inner / "test", ignore_errors=True)
    inner.rename(target)
    shutil.rmtree(unpacked)


def _write_metadata(folder: Path, config: Config) -> None:
    weaksup: list[Row] = []
    fullsup: list[Row] = []
    wnids, held_out = _lines(folder / "wnids.txt"), config.fullsup_split_per_class
    for label, wnid in enumerate(wnids):
        rows = [
            (f"train/{wnid}/images/{name}", label, box)
            for name, _, box in _boxes(folder / f"train/{wnid}/{wnid}_boxes.txt", named=False)
        ]
        if len(rows) <= held_out:
            raise InputError(
                f"{folder}: {wnid} has {len(rows)} training images, data.fullsup_split_per_class {held_out} leaves none"
            )
        chosen = set(sorted((name for name, _, _ in rows), key=_draw)[:held_out])
        weaksup += [row for row in rows if row[0] not in chosen]
        fullsup += [row for row in rows if row[0] in chosen]
    annotated = _boxes(folder / "val/val_annotations.txt", named=True)
    if unknown := {wnid for _, wnid, _ in annotated} - set(wnids):
        raise InputError(
            f"{folder / 'val/val_annotations.txt'}: classes that wnids.txt does not list:"
            f" {', '.join(sorted(unknown)[:3])}"
        )
    test = [(f"val/images/{name}", wnids.index(wnid), box) for name, wnid, box in annotated]
    test.sort(key=lambda row: row[1])
    made, former = folder / ".metadata.tmp", folder / ".metadata.old"
    for left in (made, former):
        shutil.rmtree(left, ignore_errors=True)
    for published, rows in (("train", weaksup), ("val", fullsup), ("test", test)):
        if not rows:
            raise InputError(f"{folder}: has no images for the split {published}; expected the layout of {URL}")
        metadata.write(made / published, _metadata(folder, rows))
    if (folder / "metadata").is_dir():
        (folder / "metadata").rename(former)
    made.rename(folder / "metadata")  # all splits at once: parts of two would share images
    shutil.rmtree(former, ignore_errors=True)


def _draw(image_id: str) -> str:
    return hashlib.sha256(image_id.rsplit("/", 1)[-1].encode()).hexdigest()


def _metadata(folder: Path, rows: list[Row]) -> Metadata:
    names, labels, boxes = zip(*rows, strict=True)
    sizes = np.full((len(rows), 2), SIDE, dtype=np.int64)
    return Metadata(
        folder,
        names,
        np.array(labels, dtype=np.int64),
        sizes,
        tuple(np.array([box], dtype=np.int64) for box in boxes),
        None,
    )


def _boxes(path: Path, *, named: bool) -> list[tuple[str, str, list[int]]]:
    """Rows (file, wnid or nothing, box) of an annotation file of the archive."""
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split("\t")
        try:
            file, wnid, *corners = fields if named else [fields[0], "", *fields[1:]]
            x0, y0, x1, y1 = (integer(corner, "box corner") for corner in corners)
        except ValueError:
            raise InputError(
                f"{path}:{number}: expected a file{', a wnid' if named else ''} and x0 y0 x1 y1, separated by tabs"
            ) from None
        rows.append((file, wnid, [x0, y0, x1, y1]))
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in read_lines(path) if line.strip()]
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected the layout of {URL}") from None


def _require_split(tree: Path, config: Config, classes: int) -> None:
    listed, wanted = tree / "val" / metadata.IDS, classes * config.fullsup_split_per_class
    if not listed.is_file():
        raise InputError(f"{listed}: no such file; run `{prepare_command(config)}`")
    if (found := len(_lines(listed))) != wanted:
        raise InputError(
            f"{listed}: prepared with {found // classes} images per class, data.fullsup_split_per_class is"
            f" {config.fullsup_split_per_class}; use that number, or run `{prepare_command(config)}` with the new one"
        )
