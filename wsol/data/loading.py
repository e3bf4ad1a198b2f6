"""The loaders: from stored images to batches on a device.

    TrainLoader(split, store, ...).epoch(e)         a worker's share of the global batches: random crop and flip
    EvalLoader(split, store, ...)                   a worker's share of the images, in order, none twice
    to_batch(raw, device, mean, std, layout)        moves uint8 to the device and normalises there

The transforms are those of the reference: random crop and flip for training, nothing for evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.data import masks
from wsol.data.dataset import Split, seeded_generator
from wsol.data.decoding import Pixels
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.threads import map_ahead
from wsol.types import Batch

BATCHES_AHEAD = 3


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A batch of one worker, as read.

    Attributes:
        images: (b, S, S, 3) uint8 RGB.
        labels: (b,) int64.
        image_ids: b names.
        weight: factor of this worker's mean loss, so that the mean over workers is the mean over the global batch.
        targets: (b, S, S) uint8, where the object is, cropped and flipped as the images; None unless asked for.
    """

    images: Tensor
    labels: Tensor
    image_ids: tuple[str, ...]
    weight: float = 1.0
    targets: Tensor | None = None


class TrainLoader:
    """Shuffled, cropped and flipped images; each global batch is divided among the workers.

    Every worker draws order, crops and flips for the whole epoch from (seed, epoch), so they do not depend on the
    number of workers.

    Args:
        split: the split whose images are loaded.
        store: the pixels of the images, `resize_size` wide.
        batch_size: number of images in a global batch; the last one of an epoch may be smaller.
        image_size: side in pixels of the crop.
        resize_size: side in pixels of the images before the crop.
        seed: random seed of order and augmentation.
        rank: this worker's number in [0, world).
        world: number of workers.
        least: least number of images in each worker's share of a batch; a last batch with too few images for that is
            left out.
        with_targets: whether the batches have targets made of boxes or masks; the split must be annotated.

    Attributes:
        left_out: number of images that an epoch leaves out; they are different ones in every epoch.

    Raises:
        InputError: the crop is larger than the image, there are more workers than images in a batch, or no batch has
            enough images.
        ValueError: the store's images have another size.
    """

    def __init__(
        self,
        split: Split,
        store: ImageStore,
        *,
        batch_size: int,
        image_size: int,
        resize_size: int,
        seed: int,
        rank: int,
        world: int,
        least: int = 1,
        with_targets: bool = False,
    ) -> None:
        if resize_size < image_size:
            raise InputError(
                f"data.resize_size {resize_size} is smaller than data.image_size {image_size}: no crop of that size"
                " fits"
            )
        if batch_size < world:
            raise InputError(
                f"training.batch_size {batch_size} is the global batch and cannot be shared out over {world} workers"
            )
        if store.size != resize_size:
            raise ValueError(f"the store holds images of {store.size} px, not {resize_size}")
        self.split, self.store, self.batch_size, self.image_size = split, store, batch_size, image_size
        self.seed, self.rank, self.world, self.with_targets = seed, rank, world, with_targets
        if smallest_share(min(batch_size, len(split)), batch_size, world) < least:
            raise InputError(
                f"training.batch_size {batch_size}, {len(split)} images and {world} workers: a worker has fewer than"
                f" {least} images of a batch, and batch norm cannot learn from one image whose map is a single cell;"
                " set larger batches, a larger data.image_size or a smaller backbone.stride"
            )
        self.left_out = len(split) % batch_size if smallest_share(len(split), batch_size, world) < least else 0

    def __len__(self) -> int:
        """Number of steps in an epoch."""
        return -(-(len(self.split) - self.left_out) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[RawBatch]:
        """The batches of one epoch (1-based), prepared in advance in threads."""
        generator, count = seeded_generator("train", self.seed, epoch), len(self.split)
        order = torch.randperm(count, generator=generator).tolist()
        offsets = torch.randint(self.store.size - self.image_size + 1, (count, 2), generator=generator).numpy()
        flips = (torch.rand(count, generator=generator) < 0.5).numpy()
        starts = range(0, count - self.left_out, self.batch_size)
        batches = (order[start : start + self.batch_size] for start in starts)
        return map_ahead(partial(self._batch, offsets, flips), batches, threads=2, ahead=BATCHES_AHEAD)

    def _batch(self, offsets: NDArray[np.int64], flips: NDArray[np.bool_], members: list[int]) -> RawBatch:
        mine = members[self.rank :: self.world]
        weight = self.world * len(mine) / len(members)
        mine = (
            mine or members[:1]
        )  # with weight 0: every worker must take the step, or the others wait for its gradients

        def cropped(whole: Sequence[Pixels]) -> Pixels:
            return np.stack(
                [self._crop(image, offsets[one], flips[one]) for one, image in zip(mine, whole, strict=True)]
            )

        targets = cropped([self._target(position) for position in mine]) if self.with_targets else None
        return _of_split(self.split, mine, cropped(self.store.read(mine)), weight, targets)

    def _crop(self, image: Pixels, offset: NDArray[np.int64], flip: bool) -> Pixels:
        top, left = offset
        crop = image[top : top + self.image_size, left : left + self.image_size]
        return crop[:, ::-1] if flip else crop

    def _target(self, position: int) -> Pixels:
        side = self.store.size
        return masks.target(self.split.annotation(position, side), side)


def smallest_share(images: int, batch_size: int, world: int) -> int:
    """The smallest number of images that a worker gets of a batch, in an epoch over a number of images; a worker
    without any repeats one."""
    return max(1, min(images, images % batch_size or batch_size) // world)


class EvalLoader:
    """A worker's share of a split, positions rank, rank + world, ...: in order, none repeated to fill a batch, so that
    counts stay exact.

    Args:
        split: the split whose images are loaded.
        store: the pixels of the images.
        batch_size: number of images in one batch of this worker.
        rank: this worker's number in [0, world).
        world: number of workers.
    """

    def __init__(self, split: Split, store: ImageStore, *, batch_size: int, rank: int, world: int) -> None:
        self.split, self.store, self.batch_size = split, store, batch_size
        self.positions = range(rank, len(split), world)

    def __len__(self) -> int:
        return -(-len(self.positions) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[RawBatch, list[int]]]:
        """Yield batches with the positions of their images in the split."""
        batches = (
            list(self.positions[start : start + self.batch_size])
            for start in range(0, len(self.positions), self.batch_size)
        )
        return map_ahead(self._batch, batches, threads=2, ahead=BATCHES_AHEAD)

    def _batch(self, positions: list[int]) -> tuple[RawBatch, list[int]]:
        return _of_split(self.split, positions, np.stack(self.store.read(positions))), positions


def to_batch(
    raw: RawBatch,
    device: torch.device,
    mean: Sequence[float],
    std: Sequence[float],
    layout: torch.memory_format = torch.channels_last,
) -> Batch:
    """Move a batch to the device as bytes, which is a quarter of the traffic, and normalise it there.

    Args:
        raw: a batch from a loader.
        device: the device of the network.
        mean: 3 values, subtracted from RGB in [0, 1].
        std: 3 values, the divisors.
        layout: how the images lie in memory; channels-last is how they arrive.

    Returns:
        images (B, 3, S, S) float32.
    """
    images = raw.images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1).to(device, non_blocking=True) for values in (mean, std))
    labels = raw.labels.to(device, non_blocking=True)
    targets = None if raw.targets is None else raw.targets.to(device, non_blocking=True)
    images = images.sub_(shift).div_(scale).contiguous(memory_format=layout)
    return Batch(images, labels, raw.image_ids, targets=targets)


def raw_batch(
    pixels: Pixels,
    labels: NDArray[np.int64],
    image_ids: tuple[str, ...],
    weight: float = 1.0,
    targets: Pixels | None = None,
) -> RawBatch:
    """A batch that is moved to the device while the device computes; see `RawBatch`."""
    images, classes = _ready_to_travel(pixels), _ready_to_travel(labels)
    return RawBatch(images, classes, image_ids, weight, None if targets is None else _ready_to_travel(targets))


def _ready_to_travel(values: NDArray[Any]) -> Tensor:
    """A tensor in pinned memory if there is a GPU: only from there it is moved while the GPU computes."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


def _of_split(
    split: Split, positions: list[int], pixels: Pixels, weight: float = 1.0, targets: Pixels | None = None
) -> RawBatch:
    names = tuple(split.image_ids[position] for position in positions)
    return raw_batch(pixels, split.labels[positions], names, weight, targets)
