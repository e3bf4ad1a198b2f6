"""The pixels of a split: decoded and resized to one square, from a memory-mapped cache or at every use.

The transform is the reference's: resize to a square with PIL's bilinear filter (the aspect ratio is not kept), so that
boxes map to the evaluation grid by scaling alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from wsol.console import say, say_once
from wsol.data import decoding, metadata
from wsol.data.dataset import Split
from wsol.data.decoding import Pixels
from wsol.data.staging import local_copy
from wsol.errors import InputError, listed
from wsol.pace import paced
from wsol.schema import DatasetConfig
from wsol.threads import map_ahead

CACHE_FORMAT = 2
"""Version of the cache; raise it whenever a decoded pixel changes, so that older caches are made again."""


class ImageStore:
    """The images of a split, resized to a square: from a memory-mapped cache file, or decoded in threads at every use.

    The cache `<root>/.cache/<data set>-<split>-<size>-<fingerprint>.uint8` is built once, by whichever process comes
    first. Its fingerprint covers names, sizes and times of the source files, so changed images give a new one; older
    ones of the same split and size are deleted. With `stage`, each node reads its own copy of that file.

    Args:
        split: the split whose images are read.
        size: side in pixels of the square.
        config: root folder, cache mode and number of threads. `auto` caches what needs less than half of the free disk.

    Raises:
        InputError: an image is missing or cannot be decoded, or `cache: on` cannot be written.
    """

    def __init__(self, split: Split, size: int, config: DatasetConfig) -> None:
        self.split, self.size = split, size
        self._pool = ThreadPoolExecutor(config.workers)
        self._blank_told = False
        self._cache = None if config.cache == "off" else _open_cache(split, size, config)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def cached(self) -> bool:
        """Whether images come from the cache file."""
        return self._cache is not None

    def read(self, positions: Sequence[int]) -> list[Pixels]:
        """Images (size, size, 3) uint8 RGB, in the requested order; read-only if they come from the cache."""
        if self._cache is not None:
            return [self._cache[position] for position in positions]
        images = list(self._pool.map(partial(_decode, self.split, self.size), positions))
        for position, image in zip(positions, images, strict=True):
            if (color := decoding.blank_color(image)) and not self._blank_told:
                self._blank_told = True  # the first one only: `data check` counts them
                say(f"{self.split.key}-{self.size}: {self.split.image_ids[position]} is all {color}")
        return images


def _decode(split: Split, size: int, position: int) -> Pixels:
    path = split.image_path(position)
    try:
        with decoding.opened(path) as image:
            wrong = size_problem(split, position, image)
            if wrong is None:
                return decoding.square(image, size, displayed=split.displayed)
    except FileNotFoundError:
        raise InputError(f"{path}: no such image, but {split.metadata.folder / metadata.IDS} lists it") from None
    except decoding.Undecodable as error:
        raise InputError(f"{path}: cannot be decoded ({error}); replace the file") from None
    raise InputError(f"{path}: {wrong}")


def size_problem(split: Split, position: int, image: Image.Image) -> str | None:
    """How the size of an opened image differs from the metadata, in words; None if it does not, or the metadata have no
    size."""
    if split.metadata.sizes is None:
        return None
    found, (width, height) = decoding.size(image, displayed=split.displayed), split.metadata.sizes[position].tolist()
    if found == (width, height):
        return None
    problem = f"has {found[0]} x {found[1]} pixels, {metadata.SIZES} says {width} x {height}"
    if decoding.size(image, displayed=not split.displayed) != (width, height):
        return problem
    turn = f"EXIF orientation {decoding.orientation(image)}"
    if split.displayed:
        return f"{problem}, which fits the file without its {turn}; annotate it as displayed, or remove the orientation"
    return f"{problem}, which fits it as displayed ({turn}); this data set is read as stored, as published"


def _open_cache(split: Split, size: int, config: DatasetConfig) -> Pixels | None:
    """The cache (N, size, size, 3) uint8, memory mapped, built if absent; None if `auto` finds no room for it."""
    folder, stem = Path(config.root) / ".cache", f"{split.key}-{size}"
    path = folder / f"{stem}-{_fingerprint(split, size)}.uint8"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{stem}.lock"):
                if not path.exists():  # another process may have built it meanwhile
                    _build_cache(split, size, config, path, stem)
        if config.stage is not None:
            path = local_copy(path, Path(config.stage))
        mapped = np.memmap(path, np.uint8, "r", shape=(len(split), size, size, 3))
    except OSError as error:
        if config.cache == "on":
            raise InputError(
                f"{path}: the cache of decoded images cannot be used ({error}); free the disk or set data.cache: off"
            ) from None
        say_once(f"{stem}: images are decoded at every use, they are not cached ({error})")
        return None
    return mapped.view(np.ndarray)  # slices of a memmap object cost several microseconds each


def _build_cache(split: Split, size: int, config: DatasetConfig, path: Path, stem: str) -> None:
    needed, free = len(split) * size * size * 3, shutil.disk_usage(path.parent).free
    if config.cache == "auto" and needed >= free / 2:
        raise OSError(f"{needed / 1e9:.1f} GB would take more than half of the free disk in {path.parent}")
    temporary = path.with_name(f"{stem}.tmp")  # ours alone: we hold the lock
    images = map_ahead(
        partial(_decode, split, size), range(len(split)), threads=config.workers, ahead=8 * config.workers
    )
    blank: list[str] = []
    try:
        with temporary.open("wb") as file:  # written in order, not mapped: a full disk is then an error, not a crash
            for position, image in enumerate(paced(images, f"decoding {stem}", len(split))):
                file.write(image.tobytes())
                if color := decoding.blank_color(image):
                    blank.append(f"{split.image_ids[position]} ({color})")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if blank:
        say(f"{stem}: {len(blank)} of {len(split)} images are all black or all white: {listed(blank)}")
    for other in path.parent.iterdir():
        if re.fullmatch(re.escape(stem) + r"-[0-9a-f]{16}\.uint8", other.name) and other != path:
            other.unlink(missing_ok=True)


def _fingerprint(split: Split, size: int) -> str:
    """16 hex digits over the names, sizes and times of the source files, the side, the format of the cache, whether
    images are turned, and the sizes in pixels that they were compared with."""
    digest = hashlib.blake2b(f"{CACHE_FORMAT} {size} {split.displayed}".encode(), digest_size=8)
    if split.metadata.sizes is not None:
        digest.update(split.metadata.sizes.tobytes())
    for name in split.image_ids:
        path = f"{split.image_root}/{name}"
        try:
            status = os.stat(path)  # noqa: PTH116 - a million Path objects would cost seconds
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}, but {split.metadata.folder / metadata.IDS} lists it") from None
        digest.update(f"\n{name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()
