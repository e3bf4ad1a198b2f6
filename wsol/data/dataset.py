"""The seam of data sets: from a folder of images to names, labels, boxes and masks; no pixels.

Dataset.split(name) -> Split      of `wsol/datasets`: one plugin per data set
ImageStore(split, ...)            `wsol/data/images.py`: the pixels
TrainLoader, EvalLoader           `wsol/data/loading.py`: the batches
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsol.data import masks, metadata
from wsol.data.decoding import Pixels
from wsol.data.metadata import Metadata
from wsol.data.rows import read_lines
from wsol.errors import InputError
from wsol.files import is_dir
from wsol.schema import DatasetConfig
from wsol.types import Annotation

SPLIT_FOLDERS = {"train_weaksup": "train", "train_fullsup": "val", "test": "test"}
"""Our split names (those of the papers) -> the published folder names. The original ImageNet *val* is our `test`."""

SplitCounts = dict[str, int]
"""Numbers of `images`, `classes`, `boxes` and `masks`; each instance has one mask."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many classes and images a data set has."""

    classes: int
    train_weaksup: int
    train_fullsup: int
    test: int


class Split:
    """One split: N images in the order of its metadata. Positions of images are 0 to N - 1.

    Args:
        name: a key of `SPLIT_FOLDERS`.
        metadata: the metadata of this split.
        image_root: the folder that image ids are relative to.
        mask_root: the folder that mask paths are relative to.
        key: names this selection of images in cache files.
        displayed: whether images are read with their EXIF orientation; see `Dataset`.
        without_masks: the message if masks are needed and there are none; see `Dataset`.
    """

    def __init__(
        self,
        name: str,
        metadata: Metadata,
        image_root: Path,
        mask_root: Path,
        key: str,
        *,
        displayed: bool = False,
        without_masks: str = "",
    ) -> None:
        self.name, self.metadata, self.image_root, self.mask_root, self.key = name, metadata, image_root, mask_root, key
        self.displayed = displayed
        self.without_masks = without_masks if metadata.masks is None else ""
        self._masks: dict[tuple[int, int], Pixels] = {}

    def __len__(self) -> int:
        return len(self.metadata.image_ids)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) int64, 0-based."""
        return self.metadata.labels

    @property
    def image_ids(self) -> tuple[str, ...]:
        """N unique names."""
        return self.metadata.image_ids

    def image_path(self, position: int) -> Path:
        """The image file."""
        return self.image_root / self.image_ids[position]

    def mask_paths(self, position: int) -> tuple[list[Path], Path | None]:
        """The mask files of an image's instances, and of its ignored region if there is one; none without masks."""
        paths, ignored = ((), "") if self.metadata.masks is None else self.metadata.masks[position]
        return [self.mask_root / path for path in paths], self.mask_root / ignored if ignored else None

    def annotation(self, position: int, grid: int) -> Annotation:
        """Where the object is.

        Args:
            position: the index of the image in this split.
            grid: side in pixels of the evaluation grid, to which the mask is brought; boxes stay in pixels of the
                original image.

        Raises:
            InputError: a mask file cannot be read, or this split was read without boxes and masks.
        """
        data = self.metadata
        width, height = (0, 0) if data.sizes is None else data.sizes[position].tolist()
        if data.boxes is None and data.masks is None:
            raise InputError(f"{data.folder}: {self.name} was read without boxes and masks and cannot be scored")
        boxes = np.empty((0, 4), np.int64) if data.boxes is None else data.boxes[position]
        return Annotation((width, height), boxes, None if data.masks is None else self._mask(position, grid))

    def subset(self, per_class: int, seed: int) -> Split:
        """At most `per_class` images of each class, in the order of this split.

        The draw depends on the seed and the labels only; with the same seed a larger subset contains the smaller one.
        """
        chosen = [position for members in self.drawn(seed) for position in members[:per_class]]
        return self._part(sorted(chosen), f"{per_class}s{seed}")

    def drawn(self, seed: int) -> list[list[int]]:
        """The positions of each class's images in the order in which `subset` takes them."""
        generator, found = seeded_generator("subset", seed), []
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            found.append(members[torch.randperm(len(members), generator=generator).numpy()].tolist())
        return found

    def listed(self, path: Path) -> Split:
        """The images whose ids a file lists, one per line, in the order of this split.

        Raises:
            InputError: a listed image is not in this split, none is listed, or the file is not text.
        """
        known = {image: position for position, image in enumerate(self.image_ids)}
        names = [line.strip() for line in read_lines(path)]
        if not any(names):
            raise InputError(f"{path}: lists no image; it should hold image ids of {self.name}, one a line")
        for number, name in enumerate(names, start=1):
            if name and name not in known:
                raise InputError(f"{path}:{number}: {name!r} is not among the {len(known)} images of {self.name}")
        return self.only(sorted({known[name] for name in names if name}))

    def only(self, positions: list[int]) -> Split:
        """The images at some positions, in that order."""
        return self._part(positions, hashlib.blake2b(repr(positions).encode(), digest_size=4).hexdigest())

    def _part(self, positions: list[int], key: str) -> Split:
        part, key = _select(self.metadata, positions), f"{self.key}.{key}"
        return Split(
            self.name,
            part,
            self.image_root,
            self.mask_root,
            key,
            displayed=self.displayed,
            without_masks=self.without_masks,
        )

    def _mask(self, position: int, grid: int) -> Pixels:
        if (position, grid) not in self._masks:  # kept: the files are large, and every epoch asks again
            objects, ignored = self.mask_paths(position)
            image = self.image_path(position) if self.displayed else None
            self._masks[position, grid] = masks.united(objects, ignored, grid, image)
        return self._masks[position, grid]


class Dataset:
    """A data set: its classes and splits. Every plugin in `wsol/datasets` builds one.

    Args:
        config: has the name and the root folder.
        images: the folder that image ids are relative to.
        metadata: the folder that holds the folders train, val and test.
        masks: the folder that mask paths are relative to; None: the folder of the images.
        class_names: K names, in the order of the labels.
        key: names the images in cache files; set if the same data set name can mean different images.
        remedy: what to do when files are missing.
        published: split name -> counts of the published metadata; counts that are not given are not checked.
        test_folder: the folder with the metadata of test, where there are several.
        own: whether the images are the user's own. These are read as displayed, with the EXIF orientation, because they
            were annotated that way; `data check` reads them completely and never advises to delete one. Published data
            sets are read as stored, as for the published numbers.
        without_masks: split name -> how to get the masks of a split with boxes that could have masks too, for the
            message if they are missing.
    """

    def __init__(
        self,
        config: DatasetConfig,
        *,
        images: Path,
        metadata: Path,
        masks: Path | None = None,
        class_names: list[str],
        key: str | None = None,
        remedy: str | None = None,
        published: Mapping[str, SplitCounts] | None = None,
        test_folder: str = SPLIT_FOLDERS["test"],
        own: bool = False,
        without_masks: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.class_names, self.num_classes = config.name, class_names, len(class_names)
        self.image_root, self.metadata_root, self.mask_root = images, metadata, masks or images
        self.key = key or config.name
        self.remedy = remedy or f"run `{prepare_command(config)}`"
        self.published, self.own, self.without_masks = published or {}, own, without_masks or {}
        self.folders = {**SPLIT_FOLDERS, "test": test_folder}

    def split(self, name: str) -> Split:
        """Read one split and check it strictly.

        Args:
            name: `train_weaksup` (labels only), `train_fullsup` or `test` (with boxes or masks).

        Raises:
            InputError: there is no such split, or its files are missing or defective.
        """
        if name not in SPLIT_FOLDERS:
            raise InputError(f"unknown split {name!r}; there are {', '.join(SPLIT_FOLDERS)}")
        folder = self.metadata_root / self.folders[name]
        for needed, what in ((folder, f"metadata of {name}"), (self.image_root, "images")):
            if not is_dir(needed):
                raise InputError(f"{needed}: no such folder, it should hold the {what} of {self.name}; {self.remedy}")
        data = metadata.read(folder, annotated=name != "train_weaksup", num_classes=self.num_classes)
        images = name if folder.name == SPLIT_FOLDERS[name] else folder.name
        key = f"{self.key}-{images}"
        hint = self.without_masks.get(name, "")
        return Split(name, data, self.image_root, self.mask_root, key, displayed=self.own, without_masks=hint)


def prepare_command(config: DatasetConfig) -> str:
    """The command that prepares a data set, including its settings that are not the defaults."""
    own = config.model_dump(exclude=set(DatasetConfig.model_fields), exclude_defaults=True)
    settings = [f" {shlex.quote(f'{key}={value}')}" for key, value in own.items()]
    return f"python launch.py data prepare {config.name} --root {config.root}{''.join(settings)}"


def seeded_generator(*identity: object) -> torch.Generator:
    """A generator whose stream depends on all values of its identity."""
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _select(data: Metadata, positions: list[int]) -> Metadata:
    return replace(
        data,
        image_ids=tuple(data.image_ids[position] for position in positions),
        labels=data.labels[positions],
        sizes=None if data.sizes is None else data.sizes[positions],
        boxes=None if data.boxes is None else tuple(data.boxes[position] for position in positions),
        masks=None if data.masks is None else tuple(data.masks[position] for position in positions),
    )
