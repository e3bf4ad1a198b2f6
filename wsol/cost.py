"""Measures the cost of a configuration: bytes of its weights and checkpoints, and seconds, on images of noise. The data
set is not needed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from wsol import build, distributed, plugins
from wsol.config import OptimConfig, TrainConfig
from wsol.data import metadata
from wsol.data.dataset import Sizes
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.evaluation import evaluate_together, evaluation_mode, require_countable
from wsol.extractor import PassExtractor, find_block, output_at
from wsol.method import Method
from wsol.optim import build_optimizer, copies
from wsol.post_hoc import pipelines
from wsol.training import build_loader, train_epoch

QUICK = 5.0
"""If the first measurement takes fewer seconds than this, it is mostly start-up, and the fastest of the next ones
counts."""
EVALUATED_ON_CPU = 8
FEW_PASSES = 16
"""Of an image: extractors that need more of their own are not run to be measured; their passes are counted."""


def weights_bytes(method: Method) -> int:
    """Bytes of parameters and buffers."""
    return int(sum(tensor.numel() * tensor.element_size() for tensor in method.state_dict().values()))


def checkpoint_bytes(method: Method, optim: OptimConfig) -> int:
    """Bytes of weights and buffers, and of the optimizer's state for every trained parameter."""
    trained = [
        parameter for group in method.parameter_groups() for parameter in group["params"]
    ]  # an optimizer would load torch's compiler: seconds
    kept = [parameter.numel() * parameter.element_size() for parameter in trained if parameter.requires_grad]
    return int(weights_bytes(method) + copies(optim) * sum(kept))


def device_name(threads: int) -> str:
    """The name of the device that this process trains on."""
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else f"a CPU, {threads} thread(s)"


@dataclass(frozen=True, slots=True)
class Seconds:
    """The time that one worker takes, in seconds.

    Attributes:
        step: a training step, with its share of a global batch.
        image: one image, evaluated as configured.
        image_under_all: one image, evaluated under all settings that an epoch is scored under.
    """

    step: float
    image: float
    image_under_all: float


def seconds(
    method: Method,
    config: TrainConfig,
    sizes: Sizes,
    workers: int,
    threads: int,
    settings: Sequence[TrainConfig] = (),
) -> Seconds:
    """Measure a training step and evaluated images, on random images.

    Args:
        method: the method, which is moved to the device of this process and trained a little.
        config: shapes, batch size, epochs and evaluation settings of the training.
        sizes: number of images that are trained on and scored on; see `supervision.sizes`.
        workers: number of workers that share a global batch.
        threads: threads of each worker.
        settings: the settings that every epoch is scored under, the configuration first; none: as configured.

    Raises:
        InputError: a step does not fit the memory of the device.
    """
    method.to(distributed.device()).to(memory_format=torch.channels_last)
    share = min(math.ceil(config.training.batch_size / workers), sizes.train_weaksup)
    evaluated = _evaluated(config, sizes)
    with (
        _within_memory(f"trial.training.batch_size: a step of {share} images", threads),
        TemporaryDirectory() as folder,
        _threads(threads),
    ):
        trained, fullsup = _random_images(Path(folder), config, sizes.classes, share, evaluated)
        step, image = _seconds_of_step(method, config, trained), _seconds_of_evaluation(method, [config], fullsup)
        many = len(settings) > 1
        return Seconds(step, image, _seconds_of_evaluation(method, settings, fullsup) if many else image)


def _seconds_of_step(method: Method, config: TrainConfig, images: ImageStore) -> float:
    """Seconds of a step in the last epoch, when every part of the loss is active, at a learning rate that changes
    little."""
    whole = config.training.model_copy(update={"batch_size": len(images)})
    slow = config.optim.model_copy(update={"lr": 1e-6})
    config = config.model_copy(update={"training": whole, "optim": slow})
    optimizer, loader = build_optimizer(method, config.optim), build_loader(images, method, config)

    def step() -> float:
        return (
            len(images)
            / train_epoch(method, method, optimizer, loader, config.training.epochs, config)["train/images_per_second"]
        )

    return _settled(step)


def seconds_of_choice(
    method: Method, config: TrainConfig, sizes: Sizes, threads: int, settings: Sequence[TrainConfig]
) -> float:
    """What one worker takes for an image that is evaluated under all settings from which a winner's is chosen;
    arguments as of `seconds`, whose measurement came first.

    Raises:
        InputError: a batch under all of them does not fit the memory of the device.
    """
    evaluated = _evaluated(config, sizes)
    what = f"trial.evaluation.batch_size: a batch of {evaluated} under {len(settings)} post-hoc settings"
    with _within_memory(what, threads), TemporaryDirectory() as folder, _threads(threads):
        images = _random_images(Path(folder), config, sizes.classes, 1, evaluated)[1]
        return _seconds_of_evaluation(method, settings, images)


def _evaluated(config: TrainConfig, sizes: Sizes) -> int:
    """How many images are evaluated to be measured."""
    batch = config.evaluation.batch_size if torch.cuda.is_available() else EVALUATED_ON_CPU
    return min(batch, sizes.train_fullsup)


def _seconds_of_evaluation(method: Method, settings: Sequence[TrainConfig], images: ImageStore) -> float:
    """Seconds of an image under all settings: those whose extractor needs many passes are measured with the method's
    own map instead, and the passes are added."""
    each = {extractor_key(one): one for one in settings}
    passes = {key: own_passes(method, one, images.size) for key, one in each.items()}
    many = {key: count for key, count in passes.items() if count > FEW_PASSES}
    quick = [_with_own_map(one) if extractor_key(one) in many else one for one in settings]

    def evaluation() -> float:
        started = time.perf_counter()
        evaluate_together(pipelines(method, quick), images)
        return time.perf_counter() - started

    measured = _settled(evaluation) / len(images)
    return measured + (sum(many.values()) * _seconds_of_pass(method, images) if many else 0.0)


def extractor_key(config: TrainConfig) -> str:
    """Settings with the same one share the maps of a pass."""
    return f"{config.method.model_dump_json()} {config.evaluation.extractor.model_dump_json()}"


def own_passes(method: Method, config: TrainConfig, side: int) -> int:
    """How many images go through the network for the map of one, beside that image itself.

    Args:
        method: with the weights that it has now, on any device.
        config: a setting of it.
        side: of its images in pixels.
    """
    extractor = build.extractor(config.evaluation.extractor)
    if not isinstance(extractor, PassExtractor):
        return 0
    block = find_block(method.network.backbone, extractor.block)
    images, labels = _noise_on_device(1, side)
    with evaluation_mode(method):
        return extractor.passes(output_at(method, block, images, labels)[0].shape[1])


def passes_by_extractor(method: Method, settings: Sequence[TrainConfig]) -> dict[str, int]:
    """Extractor -> `own_passes`, the most under any of the settings; those without any are left out."""
    found: dict[str, int] = {}
    for one in {extractor_key(one): one for one in settings}.values():
        name, passes = one.evaluation.extractor.name, own_passes(method, one, one.data.image_size)
        if passes:
            found[name] = max(passes, found.get(name, 0))
    return found


def _with_own_map(config: TrainConfig) -> TrainConfig:
    own = plugins.load("extractor", "cam").Config()
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"extractor": own})})


def _seconds_of_pass(method: Method, images: ImageStore) -> float:
    """Seconds of one image on its way through the network, among as many as are evaluated."""
    noise, labels = _noise_on_device(len(images), images.size)

    def forward() -> float:
        started = time.perf_counter()
        with torch.no_grad(), evaluation_mode(method):
            method.activate(noise, labels).logits.sum().item()
        return time.perf_counter() - started

    return _settled(forward) / len(images)


def _noise_on_device(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised images and labels."""
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return images.to(distributed.device()), torch.zeros(count, dtype=torch.int64, device=distributed.device())


def _settled(measure: Callable[[], float]) -> float:
    """Seconds of a call, without what happens only the first time."""
    first = measure()
    return first if first > QUICK else min(measure() for _ in range(3))


def _random_images(
    folder: Path, config: TrainConfig, classes: int, trained: int, fullsup: int
) -> tuple[ImageStore, ImageStore]:
    """Images of noise on the disk, for training (before the crop) and for evaluation, both with the annotations that
    the metrics need: a method may train on them."""
    generator = torch.Generator().manual_seed(0)
    for name, count, side in (
        ("train", 0, 1),
        ("val", fullsup, config.data.image_size),
        ("test", trained, config.data.resize_size),
    ):
        _write_noise(folder, name, count, side, classes, generator)
    shape = {
        "image_size": config.data.image_size,
        "resize_size": config.data.resize_size,
        "cache": "off",
        "workers": config.data.workers,
    }
    for kind in ("boxes", "masks"):
        fields = {
            "name": "folder",
            "images": str(folder),
            "metadata": str(folder / kind),
            "num_classes": classes,
            **shape,
        }
        data = plugins.load("dataset", "folder").Config.model_validate(fields)
        dataset = build.dataset(data)
        found = build.images(dataset, "train_fullsup", data)
        try:
            require_countable(found.split, found.size, config.evaluation)
        except InputError:
            continue
        break
    return ImageStore(dataset.split("test"), data.resize_size, data), found


def _write_noise(folder: Path, split: str, count: int, side: int, classes: int, generator: torch.Generator) -> None:
    """`<split>/<n>.png` with a mask of the left half, and the metadata of both kinds."""
    (folder / split).mkdir()
    names = tuple(f"{split}/{index}.png" for index in range(count))
    for name in names:
        Image.fromarray(torch.randint(256, (side, side, 3), generator=generator, dtype=torch.uint8).numpy()).save(
            folder / name
        )
    mask = np.zeros((side, side), np.uint8)
    mask[:, : side // 2] = 255
    Image.fromarray(mask).save(folder / split / "mask.png")
    box = np.array([[0, 0, side // 2, side - 1]])
    common = (folder, names, np.arange(count) % classes, np.full((count, 2), side))
    metadata.write(folder / "boxes" / split, metadata.Metadata(*common, (box,) * count, None))
    masks = ((f"{split}/mask.png",), f"{split}/mask.png")
    metadata.write(folder / "masks" / split, metadata.Metadata(*common, None, (masks,) * count))


@contextmanager
def _within_memory(what: str, threads: int) -> Iterator[None]:
    """Raises InputError where the device runs out of memory; `what` is the key to change, and what was tried."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise InputError(f"{what} does not fit the memory of {device_name(threads)}; lower it") from None


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use as many threads as a worker has, but no more than this machine has cores."""
    former = torch.get_num_threads()
    torch.set_num_threads(min(count, len(os.sched_getaffinity(0))))
    try:
        yield
    finally:
        torch.set_num_threads(former)
