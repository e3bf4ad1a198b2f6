"""Your own images, annotated in the format of `wsol/data/metadata.py`.

*Layout.* `images` is any folder; `metadata` holds the folders `train` (class labels only), `val` (= train_fullsup: a
few images with boxes or masks, for choosing hyperparameters) and `test`, each with the four text files, and may hold
`class_names.txt`, one name a line. Mask paths are relative to `masks`. By default, these are folders of the root, as
`data prepare coco`, `voc` and `yolo` make them from other annotations.

*Orientation.* Images and masks are read as displayed, with their EXIF orientation, because they were annotated that
way. Sizes and boxes in the metadata are those of the displayed image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS, Dataset
from wsol.data.tree import check_tree
from wsol.errors import InputError
from wsol.files import is_dir, is_file
from wsol.schema import DatasetConfig, FilePath


class Config(DatasetConfig):
    """A folder of images.

    Attributes:
        images: the folder that image ids are relative to; null: `images` in the root.
        metadata: the folder that holds train, val and test; null: `metadata` in the root.
        masks: the folder that mask paths are relative to; null: `images`, or, if that is null too, `masks` in the root.
        num_classes: K; null: the number of names, or, without names, one more than the largest label of all splits.
        class_names: K names in the order of the labels; null: the lines of `class_names.txt` in `metadata`, or, without
            that file, the labels themselves.
    """

    name: Literal["folder"] = "folder"
    images: FilePath | None = None
    metadata: FilePath | None = None
    masks: FilePath | None = None
    num_classes: int | None = Field(default=None, ge=1)
    class_names: list[str] | None = None


def build(config: Config) -> Dataset:
    """The data set. Raises InputError if names and classes do not agree or a file is missing."""
    remedy = "set data.images and data.metadata to existing folders, or data.root to the folder that holds them"
    root = Path(config.root)
    images, lists = Path(config.images or root / "images"), Path(config.metadata or root / "metadata")
    masks = config.masks or config.images or root / "masks"
    for folder in (images, *(lists / name for name in SPLIT_FOLDERS.values())):
        if not is_dir(folder):
            raise InputError(f"{folder}: no such folder; {remedy}")
    named_in, names = "data.class_names", config.class_names
    if names is None and is_file(lists / metadata.CLASS_NAMES):
        named_in, names = str(lists / metadata.CLASS_NAMES), metadata.read_class_names(lists)
    classes = config.num_classes or len(names or ()) or _count_classes(lists)
    names = [str(label) for label in range(classes)] if names is None else names
    if len(names) != classes:
        raise InputError(f"{named_in} has {len(names)} names, but data.num_classes is {classes}")
    key = f"folder-{hashlib.sha256(str(images.resolve()).encode()).hexdigest()[:10]}"
    return Dataset(
        config,
        images=images,
        metadata=lists,
        masks=Path(masks),
        class_names=names,
        key=key,
        remedy=remedy,
        own=True,
    )


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Verify the folders as they are; nothing is copied or made. Raises InputError with what is wrong."""
    check_tree(build(config), log)


def _count_classes(folder: Path) -> int:
    return 1 + max(int(metadata.read(folder / name, annotated=False).labels.max()) for name in SPLIT_FOLDERS.values())
