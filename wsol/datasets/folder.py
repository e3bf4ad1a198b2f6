"""Your own images, annotated in the format of `wsol/data/metadata.py`.

*Layout.* `images` is any folder; `metadata` holds the folders `train` (class labels only), `val` (= train_fullsup: a
few images with boxes or masks, for choosing hyperparameters) and `test`, each with the four text files. Mask paths are
relative to `images` too.

*Orientation.* Images and masks are read as displayed, with their EXIF orientation: so they were annotated. Sizes and
boxes in the metadata are those of the displayed image.
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
from wsol.files import is_dir
from wsol.schema import DatasetConfig, FilePath


class Config(DatasetConfig):
    """A folder of images.

    Attributes:
        images: image ids are relative to this folder.
        metadata: holds train, val and test.
        num_classes: K; null: the largest label of all splits and one.
        class_names: K names in the order of the labels; null: the labels themselves.
    """

    name: Literal["folder"] = "folder"
    images: FilePath
    metadata: FilePath
    num_classes: int | None = Field(default=None, ge=1)
    class_names: list[str] | None = None


def build(config: Config) -> Dataset:
    """The data set; raises InputError where names and classes do not fit each other or a file is missing."""
    remedy = "set data.images and data.metadata to existing folders"
    for folder in (Path(config.images), *(Path(config.metadata) / name for name in SPLIT_FOLDERS.values())):
        if not is_dir(folder):
            raise InputError(f"{folder}: no such folder; {remedy}")
    classes = config.num_classes or len(config.class_names or ()) or _count_classes(Path(config.metadata))
    names = [str(label) for label in range(classes)] if config.class_names is None else config.class_names
    if len(names) != classes:
        raise InputError(f"data.class_names has {len(names)} names, but data.num_classes is {classes}")
    key = f"folder-{hashlib.sha256(str(Path(config.images).resolve()).encode()).hexdigest()[:10]}"
    return Dataset(
        config,
        images=Path(config.images),
        metadata=Path(config.metadata),
        class_names=names,
        key=key,
        remedy=remedy,
        own=True,
    )


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Nothing is copied or made: verify the folders as they are. Raises InputError with what is wrong."""
    check_tree(build(config), log)


def _count_classes(folder: Path) -> int:
    return 1 + max(int(metadata.read(folder / name, annotated=False).labels.max()) for name in SPLIT_FOLDERS.values())
