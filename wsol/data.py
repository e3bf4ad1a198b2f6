"""The seam of data sets, and the loaders: from a folder of images to batches on a device.

    Dataset.split(name) -> Split                    names, labels, boxes or masks; no pixels
    ImageStore(split, size, config)                 pixels, all resized to one square: from a memory-mapped cache or decoded on the fly
    TrainLoader(split, store, ...).epoch(e)         a worker's share of the global batches: random crop and flip
    EvalLoader(split, store, ...)                   a worker's share of the images, in order, none twice
    to_batch(raw, device, mean, std) -> Batch       uint8 travels to the device, normalisation happens there

The transforms are those of the reference: resize to a square with PIL's bilinear filter (the aspect ratio is not kept), random crop and
flip for training, nothing else for evaluation, so that boxes map to the evaluation grid by scaling alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wsol import metadata
from wsol.config import DatasetConfig
from wsol.errors import InputError
from wsol.metadata import Metadata
from wsol.types import Annotation, Batch

SPLIT_FOLDERS = {"train_weaksup": "train", "train_fullsup": "val", "test": "test"}
"""Our split names (those of the papers) -> the published folder names. The original ImageNet *val* is our `test`."""

UNDECODABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
CACHE_FORMAT = 1
BATCHES_AHEAD = 3
SECONDS_BETWEEN_LINES = 5.0
MAX_PROBLEMS = 10

Pixels = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Split:
    """One split: N images in the order of its metadata. Positions are 0 to N - 1.

    Args:
        name: a key of `SPLIT_FOLDERS`.
        metadata: of this split.
        image_root: image ids are relative to it.
        mask_root: mask paths are relative to it.
        key: names this selection of images in cache files.
    """

    def __init__(self, name: str, metadata: Metadata, image_root: Path, mask_root: Path, key: str) -> None:
        self.name, self.metadata, self.image_root, self.mask_root, self.key = name, metadata, image_root, mask_root, key
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

    def annotation(self, position: int, grid: int) -> Annotation:
        """Where the object is.

        Args:
            position: of the image in this split.
            grid: side in pixels of the evaluation grid, on which the mask is; boxes stay in pixels of the original image.

        Raises:
            InputError: a mask file cannot be read, or this split has no boxes and masks.
        """
        data = self.metadata
        width, height = (0, 0) if data.sizes is None else data.sizes[position].tolist()
        if data.boxes is not None:
            return Annotation((width, height), data.boxes[position])
        if data.masks is None:
            raise InputError(f"{data.folder}: {self.name} was read without boxes and masks and cannot be scored")
        if (position, grid) not in self._masks:  # kept: the files are large, and every epoch asks again
            self._masks[position, grid] = self._mask(position, grid)
        return Annotation((width, height), np.empty((0, 4), np.int64), self._masks[position, grid])

    def subset(self, per_class: int, seed: int) -> Split:
        """At most `per_class` images of each class, in the order of this split.

        The draw depends on the seed and the labels only; with the same seed a larger subset contains the smaller one.
        """
        generator, chosen = _generator("subset", seed), []
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            chosen += members[torch.randperm(len(members), generator=generator)[:per_class].numpy()].tolist()
        part = _select(self.metadata, sorted(chosen))
        return Split(self.name, part, self.image_root, self.mask_root, f"{self.key}.{per_class}s{seed}")

    def _mask(self, position: int, grid: int) -> Pixels:
        """(grid, grid) uint8: the instances OR-ed are 1, the ignored region outside of them 255."""
        assert self.metadata.masks is not None
        paths, ignore = self.metadata.masks[position]
        mask = _on_grid(self.mask_root / ignore, grid).astype(np.uint8) * 255
        for path in paths:
            mask[_on_grid(self.mask_root / path, grid)] = 1
        return mask


class Dataset:
    """A data set: its classes and splits. Every plugin in `wsol/datasets` builds one.

    Args:
        config: gives the name and the root folder.
        images: the folder that image ids (and mask paths) are relative to.
        metadata: holds the folders train, val and test.
        class_names: K names, in the order of the labels.
        key: names the images in cache files; set where the same data set name can mean different images.
        remedy: what to do when files are missing.
    """

    def __init__(
        self, config: DatasetConfig, *, images: Path, metadata: Path, class_names: list[str], key: str | None = None, remedy: str | None = None
    ) -> None:
        self.name, self.class_names, self.num_classes = config.name, class_names, len(class_names)
        self.image_root, self.metadata_root = images, metadata
        self.key = key or config.name
        self.remedy = remedy or f"run `{prepare_command(config)}`"

    def split(self, name: str) -> Split:
        """Read one split strictly.

        Args:
            name: `train_weaksup` (labels only), `train_fullsup` or `test` (with boxes or masks).

        Raises:
            InputError: there is no such split, or its files are missing or defective.
        """
        if name not in SPLIT_FOLDERS:
            raise InputError(f"unknown split {name!r}; there are {', '.join(SPLIT_FOLDERS)}")
        folder = self.metadata_root / SPLIT_FOLDERS[name]
        for needed, what in ((folder, f"metadata of {name}"), (self.image_root, "images")):
            if not needed.is_dir():
                raise InputError(f"{needed}: no such folder, it should hold the {what} of {self.name}; {self.remedy}")
        data = metadata.read(folder, annotated=name != "train_weaksup", num_classes=self.num_classes)
        return Split(name, data, self.image_root, self.image_root, f"{self.key}-{name}")


def prepare_command(config: DatasetConfig) -> str:
    """What the user types to get a data set."""
    return f"python launch.py data prepare {config.name} --root {config.root}"


def check_tree(dataset: Dataset, log: Callable[[str], None] = print) -> dict[str, dict[str, int]]:
    """Verify a data set on the disk: all files are there, and images have the size that the metadata gives (only headers are read).

    Args:
        dataset: any.
        log: gets one line of counts per split.

    Returns:
        split name -> counts of `images`, `classes`, `boxes` and `masks`.

    Raises:
        InputError: with up to ten problems, one a line.
    """
    counts: dict[str, dict[str, int]] = {}
    problems: list[str] = []
    split_of: dict[str, str] = {}
    for name in SPLIT_FOLDERS:
        split = dataset.split(name)
        problems += [f"{image}: is in {split_of[image]} and in {name}" for image in split.image_ids if image in split_of]
        split_of.update(dict.fromkeys(split.image_ids, name))
        problems += [problem for problem in _ahead(partial(_problem, split), range(len(split)), threads=8, ahead=256) if problem]
        counts[name] = _counts(split)
        log(f"{dataset.name} {name}: " + ", ".join(f"{count} {what}" for what, count in counts[name].items()))
    if problems:
        more = [f"... and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise InputError("\n".join([f"{dataset.name}: {len(problems)} problems; {dataset.remedy}", *problems[:MAX_PROBLEMS], *more]))
    return counts


class ImageStore:
    """The images of a split, resized to a square: from a memory-mapped cache file, or decoded in threads at every use.

    The cache `<root>/.cache/<data set>-<split>-<size>-<fingerprint>.uint8` is built once, by whichever process comes first. Its fingerprint
    covers names, sizes and times of the source files, so changed images give a new one; older ones of the same split and size are deleted.

    Args:
        split: which images.
        size: side in pixels of the square.
        config: root folder, cache mode and number of threads. `auto` caches what needs less than half of the free disk.

    Raises:
        InputError: an image is missing or cannot be decoded, or `cache: on` cannot be written.
    """

    def __init__(self, split: Split, size: int, config: DatasetConfig) -> None:
        self.split, self.size = split, size
        self._pool = ThreadPoolExecutor(config.workers)
        self._cache = None if config.cache == "off" else _open_cache(split, size, config)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def cached(self) -> bool:
        """Whether images come from the cache file."""
        return self._cache is not None

    def read(self, positions: Sequence[int]) -> list[Pixels]:
        """Images (size, size, 3) uint8 RGB, in the order asked for; read-only where they come from the cache."""
        if self._cache is not None:
            return [self._cache[position] for position in positions]
        return list(self._pool.map(partial(_decode, self.split, self.size), positions))


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Images of one worker, as read.

    Attributes:
        images: (b, S, S, 3) uint8 RGB.
        labels: (b,) int64.
        image_ids: b names.
        weight: factor of this worker's mean loss, so that the mean over workers is the mean over the global batch.
    """

    images: Tensor
    labels: Tensor
    image_ids: tuple[str, ...]
    weight: float = 1.0


class TrainLoader:
    """Shuffled, cropped and flipped images: each global batch is shared out over the workers.

    Order, crops and flips are drawn for the whole epoch from (seed, epoch), by every worker alike, so neither depends on how many there are.

    Args:
        split: which images.
        store: their pixels, `resize_size` wide.
        batch_size: images of a global batch; the last one of an epoch may be smaller.
        image_size: side in pixels of the crop.
        resize_size: side in pixels of the images before the crop.
        seed: of order and augmentation.
        rank: this worker's number in [0, world).
        world: number of workers.

    Raises:
        InputError: the crop is larger than the image, or there are more workers than images in a batch.
    """

    def __init__(
        self, split: Split, store: ImageStore, *, batch_size: int, image_size: int, resize_size: int, seed: int, rank: int, world: int
    ) -> None:
        if resize_size < image_size:
            raise InputError(f"data.resize_size {resize_size} is smaller than data.image_size {image_size}: no crop of that size fits")
        if batch_size < world:
            raise InputError(f"training.batch_size {batch_size} is the global batch and cannot be shared out over {world} workers")
        if store.size != resize_size:
            raise ValueError(f"the store holds images of {store.size} px, not {resize_size}")
        self.split, self.store, self.batch_size, self.image_size = split, store, batch_size, image_size
        self.seed, self.rank, self.world = seed, rank, world

    def __len__(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[RawBatch]:
        """The batches of one epoch (1-based), prepared ahead in threads."""
        generator, count = _generator("train", self.seed, epoch), len(self.split)
        order = torch.randperm(count, generator=generator).tolist()
        offsets = torch.randint(self.store.size - self.image_size + 1, (count, 2), generator=generator).numpy()
        flips = (torch.rand(count, generator=generator) < 0.5).numpy()
        batches = (order[start : start + self.batch_size] for start in range(0, count, self.batch_size))
        return _ahead(partial(self._batch, offsets, flips), batches, threads=2, ahead=BATCHES_AHEAD)

    def _batch(self, offsets: NDArray[np.int64], flips: NDArray[np.bool_], members: list[int]) -> RawBatch:
        mine = members[self.rank :: self.world]
        weight = self.world * len(mine) / len(members)
        mine = mine or members[:1]  # with weight 0: every worker must take the step, or the others wait for its gradients
        pixels, side = np.empty((len(mine), self.image_size, self.image_size, 3), np.uint8), self.image_size
        for place, position, image in zip(range(len(mine)), mine, self.store.read(mine), strict=True):
            top, left = offsets[position]
            crop = image[top : top + side, left : left + side]
            pixels[place] = crop[:, ::-1] if flips[position] else crop
        return _raw_batch(self.split, mine, pixels, weight)


class EvalLoader:
    """A worker's share of a split, positions rank, rank + world, ...: in order, none repeated to fill a batch, so that counts stay exact.

    Args:
        split: which images.
        store: their pixels.
        batch_size: images of one batch of this worker.
        rank: this worker's number in [0, world).
        world: number of workers.
    """

    def __init__(self, split: Split, store: ImageStore, *, batch_size: int, rank: int, world: int) -> None:
        self.split, self.store, self.batch_size = split, store, batch_size
        self.positions = range(rank, len(split), world)

    def __len__(self) -> int:
        return -(-len(self.positions) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[RawBatch, list[int]]]:
        """Batches with the positions of their images in the split."""
        batches = (list(self.positions[start : start + self.batch_size]) for start in range(0, len(self.positions), self.batch_size))
        return _ahead(self._batch, batches, threads=2, ahead=BATCHES_AHEAD)

    def _batch(self, positions: list[int]) -> tuple[RawBatch, list[int]]:
        return _raw_batch(self.split, positions, np.stack(self.store.read(positions)), 1.0), positions


def to_batch(raw: RawBatch, device: torch.device, mean: Sequence[float], std: Sequence[float]) -> Batch:
    """Move a batch to the device as bytes, a quarter of the traffic, and normalise it there.

    Args:
        raw: from a loader.
        device: where the network is.
        mean: 3 values, subtracted from RGB in [0, 1].
        std: 3 values, the divisors.

    Returns:
        images (B, 3, S, S) float32 in channels-last memory.
    """
    images = raw.images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1).to(device, non_blocking=True) for values in (mean, std))
    return Batch(images.sub_(shift).div_(scale), raw.labels.to(device, non_blocking=True), raw.image_ids)


def _raw_batch(split: Split, positions: list[int], pixels: Pixels, weight: float) -> RawBatch:
    images, labels = torch.from_numpy(pixels), torch.from_numpy(split.labels[positions])
    if torch.cuda.is_available():  # only pinned memory travels while the device computes
        images, labels = images.pin_memory(), labels.pin_memory()
    return RawBatch(images, labels, tuple(split.image_ids[position] for position in positions), weight)


def _select(data: Metadata, positions: list[int]) -> Metadata:
    return replace(
        data,
        image_ids=tuple(data.image_ids[position] for position in positions),
        labels=data.labels[positions],
        sizes=None if data.sizes is None else data.sizes[positions],
        boxes=None if data.boxes is None else tuple(data.boxes[position] for position in positions),
        masks=None if data.masks is None else tuple(data.masks[position] for position in positions),
    )


def _generator(*identity: object) -> torch.Generator:
    """A generator whose stream depends on all values of its identity."""
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _ahead(function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int) -> Iterator[Result]:
    """`map` in threads, in order, at most `ahead` results waiting."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decode(split: Split, size: int, position: int) -> Pixels:
    path = split.image_path(position)
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except FileNotFoundError:
        raise InputError(f"{path}: no such image, but {split.metadata.folder / metadata.IDS} lists it") from None
    except UNDECODABLE as error:
        raise InputError(f"{path}: cannot be decoded ({error}); replace the file") from None


def _on_grid(path: Path, grid: int) -> NDArray[np.bool_]:
    """(grid, grid): nearest neighbour; grey value above 0.5 of 0..255, alpha does not count."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise InputError(f"{path}: no such mask, or not readable as an image")
    rows, columns = (_nearest(side, grid) for side in grey.shape)
    picked: NDArray[np.bool_] = grey[rows[:, None], columns] > 0
    return picked


def _nearest(side: int, grid: int) -> NDArray[np.int64]:
    """(grid,) source indices floor(d * side / grid), in OpenCV's order of operations.

    Where d * side / grid is an integer, its rounding takes the pixel before for some sides (1600 among them); the reference uses OpenCV.
    """
    indices: NDArray[np.int64] = np.floor(np.arange(grid) * (1 / (grid / side))).astype(np.int64)
    return np.minimum(indices, side - 1)


def _open_cache(split: Split, size: int, config: DatasetConfig) -> Pixels | None:
    """(N, size, size, 3) uint8, memory mapped, built if absent; None where `auto` finds no place for it."""
    folder, stem = Path(config.root) / ".cache", f"{split.key}-{size}"
    path = folder / f"{stem}-{_fingerprint(split, size)}.uint8"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{stem}.lock"):
                if not path.exists():  # another process may have built it meanwhile
                    _build_cache(split, size, config, path, stem)
        mapped = np.memmap(path, np.uint8, "r", shape=(len(split), size, size, 3))
    except OSError as error:
        if config.cache == "on":
            raise InputError(f"{path}: the cache of decoded images cannot be used ({error}); free the disk or set data.cache: off") from None
        _say_once(f"{stem}: images are decoded at every use, they are not cached ({error})")
        return None
    return mapped.view(np.ndarray)  # slices of a memmap object cost several microseconds each


def _build_cache(split: Split, size: int, config: DatasetConfig, path: Path, stem: str) -> None:
    needed, free = len(split) * size * size * 3, shutil.disk_usage(path.parent).free
    if config.cache == "auto" and needed >= free / 2:
        raise OSError(f"{needed / 1e9:.1f} GB would take more than half of the free disk in {path.parent}")
    temporary = path.with_name(f"{stem}.tmp")  # ours alone: we hold the lock
    images = _ahead(partial(_decode, split, size), range(len(split)), threads=config.workers, ahead=8 * config.workers)
    try:
        with temporary.open("wb") as file:  # written in order, not mapped: a full disk is then an error, not a crash
            for image in _with_lines(images, len(split), f"decoding {stem}"):
                file.write(image.tobytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    for other in path.parent.iterdir():
        if re.fullmatch(re.escape(stem) + r"-[0-9a-f]{16}\.uint8", other.name) and other != path:
            other.unlink(missing_ok=True)


def _fingerprint(split: Split, size: int) -> str:
    """16 hex digits over the names, sizes and times of the source files, the side and the format of the cache."""
    digest = hashlib.blake2b(f"{CACHE_FORMAT} {size}".encode(), digest_size=8)
    for name in split.image_ids:
        path = f"{split.image_root}/{name}"
        try:
            status = os.stat(path)  # noqa: PTH116 - a million Path objects would cost seconds
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}, but {split.metadata.folder / metadata.IDS} lists it") from None
        digest.update(f"\n{name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _with_lines(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    """Pass items on, with a line of progress every few seconds."""
    shown = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
            shown = time.monotonic()
            _say(f"{label}: {done} of {total} images")
        yield item


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_say_once = cache(_say)


def _problem(split: Split, position: int) -> str | None:
    """What is wrong with the files of one image."""
    path, data = split.image_path(position), split.metadata
    masks = () if data.masks is None else (*data.masks[position][0], data.masks[position][1])
    for needed in (path, *(split.mask_root / mask for mask in masks)):
        if not needed.is_file():
            return f"{needed}: no such file"
    if data.sizes is None:
        return None
    try:
        with Image.open(path) as image:
            found = image.size
    except UNDECODABLE as error:
        return f"{path}: cannot be read ({error})"
    width, height = data.sizes[position].tolist()
    return None if found == (width, height) else f"{path}: has {found[0]} x {found[1]} pixels, {metadata.SIZES} says {width} x {height}"


def _counts(split: Split) -> dict[str, int]:
    return {
        "images": len(split),
        "classes": len(np.unique(split.labels)),
        "boxes": sum(len(boxes) for boxes in split.metadata.boxes or ()),
        "masks": sum(len(paths) for paths, _ in split.metadata.masks or ()),
    }
