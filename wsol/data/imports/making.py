"""Converts annotations in another format into a data set `folder`: read, select, split, write, check; all or nothing.

*Written.* A new folder with `images`, a link to where the images are, `metadata`, `masks` if there are any, and
`import.txt`, which repeats the messages. The images and the annotations stay as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from wsol import files, plugins
from wsol.data import metadata
from wsol.data.imports import left_out as kinds
from wsol.data.imports import splitting
from wsol.data.imports.annotations import Config, Source
from wsol.data.imports.left_out import LeftOut
from wsol.data.imports.selecting import Chosen, object_region, select
from wsol.data.metadata import MaskPaths, Metadata
from wsol.data.tree import check_tree
from wsol.errors import InputError
from wsol.pace import paced

FORMATS = ("coco", "voc", "yolo")
RECORD = "import.txt"
UNFINISHED = ".part"
"""A folder inside of the root, while it is written."""

Log = Callable[[str], None]


def reader(name: str) -> ModuleType:
    """The module of one of `FORMATS`."""
    return import_module(f"wsol.data.imports.{name}")


def make(name: str, config: Config, root: Path, log: Log) -> None:
    """Make a data set in a folder that is new or empty.

    Args:
        name: one of `FORMATS`.
        config: its settings.
        root: the folder.
        log: gets a sentence for everything that was decided or left out, and lines of progress.

    Raises:
        InputError: a file is missing, damaged or contradictory; then nothing is written.
    """
    log(f"reading {config.annotations}")
    source: Source = reader(name).read(config)
    left_out = LeftOut()
    chosen = select(source, left_out, log)
    used = {found.category for found in chosen}
    names = {category: text for category, text in source.classes.items() if category in used}
    for text in (text for category, text in source.classes.items() if category not in used):
        left_out.add(kinds.NO_IMAGE_OF_CLASS, text)
    _require_one_line_each(config, names)
    parts = splitting.split(chosen, source.shares, names, config.seed)
    said = [
        *source.notes,
        *left_out.lines(),
        f"classes: {len(names)}, labels in {source.order}",
        *splitting.notes(parts, source.shares, names, config.seed),
    ]
    for line in said:
        log(line)
    with _all_or_nothing(root) as unfinished:
        _write(unfinished, source, parts, names, log)
        record = "\n".join([f"{name}: {config.annotations}", *said, ""])
        files.write_text(unfinished / RECORD, record.encode("utf-8", "backslashreplace").decode())
        check = plugins.load("dataset", "folder")
        check_tree(check.build(check.Config(root=str(unfinished))), lambda line: log(_in_place(line, unfinished, root)))


def _require_one_line_each(config: Config, names: dict[str, str]) -> None:
    for name in names.values():
        if not name or not name.isprintable() or list(names.values()).count(name) > 1:
            raise InputError(
                f"{config.annotations}: the class name {name!r} is empty, not of one line, or that of two classes;"
                " correct it"
            )


def _in_place(line: str, unfinished: Path, root: Path) -> str:
    return line.replace(str(unfinished), str(root))


@contextmanager
def _all_or_nothing(root: Path) -> Iterator[Path]:
    """A folder whose content is moved to the root at the end of the block, the metadata last; after a failure nothing
    is left."""
    unfinished, new = root / UNFINISHED, not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)  # of an import that was killed
        unfinished.mkdir()
        yield unfinished
        for name in sorted((path.name for path in unfinished.iterdir()), key=lambda name: name == "metadata"):
            (unfinished / name).rename(root / name)
    except InputError as error:
        raise InputError(_in_place(str(error), unfinished, root)) from None
    except OSError as error:
        raise InputError(f"{root}: cannot be written ({error}); free the disk, or choose another place") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if new and root.is_dir() and not any(root.iterdir()):
            root.rmdir()


def _write(root: Path, source: Source, parts: splitting.Parts, names: dict[str, str], log: Log) -> None:
    label_of = {category: label for label, category in enumerate(names)}
    (root / "images").symlink_to(source.root.resolve())
    for name, part in parts.items():
        masks = _write_masks(root / "masks", part, log) if source.with_masks and name != "train" else None
        found = Metadata(
            root,
            tuple(found.image for found in part),
            np.array([label_of[found.category] for found in part]),
            np.array([found.size for found in part]),
            tuple(found.boxes for found in part),
            masks,
        )
        metadata.write(root / "metadata" / name, found)
    metadata.write_class_names(root / "metadata", names.values())


def _write_masks(folder: Path, part: list[Chosen], log: Log) -> tuple[MaskPaths, ...]:
    """Write a mask file for all objects of an image, and one for its ignored region if there is one; 255 is inside."""
    rows = []
    for found in paced(part, "writing masks", len(part), log=log):
        written = []
        for ending, hidden in ((".png", False), (".ignored.png", True)):
            region = object_region(found.listed, found.size, hidden=hidden)
            written.append(f"{found.image}{ending}" if region.any() else "")
            if region.any():
                path = folder / written[-1]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(region.astype(np.uint8) * 255).save(path)
        rows.append(((written[0],), written[1]))
    return tuple(rows)
