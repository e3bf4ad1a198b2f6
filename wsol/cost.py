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

import torch

from wsol import build, plugins
from wsol.config import OptimConfig, TrainConfig
from wsol.data.dataset import Sizes
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.evaluation import evaluate_together, evaluation_mode
from wsol.extractor import PassExtractor, find_block, output_at
from wsol.method import Method
from wsol.noise import noise_on_device, random_images
from wsol.optim import build_optimizer, copies
from wsol.placement import place
from wsol.post_hoc import pipelines
from wsol.training import build_loader, train_epoch

QUICK = 5.0
"""If the first measurement takes fewer seconds than this, it is mostly start-up, and the fastest of the next ones
counts, on which so many seconds are spent."""
TRAINED_ON_CPU = 4
"""Images of a step that is measured on a CPU, where a long step takes time and memory in proportion to its images. A
GPU is given the whole batch, which has to fit its memory."""
EVALUATED_ON_CPU = 8
SHORT, IN_A_ROW = 1.0, 8
"""A step of fewer seconds is measured among so many: in an epoch the loader works ahead, before one alone it cannot."""
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
    place(method)
    share = min(math.ceil(config.training.batch_size / workers), sizes.train_weaksup)
    evaluated = _evaluated(config, sizes)
    with (
        _within_memory(f"trial.training.batch_size: a step of {share} images", threads),
        TemporaryDirectory() as folder,
        _threads(threads),
    ):
        trained, fullsup = random_images(Path(folder), config, sizes.classes, share, evaluated)
        step, image = _seconds_of_step(method, config, trained), _seconds_of_evaluation(method, [config], fullsup)
        many = len(settings) > 1
        return Seconds(step, image, _seconds_of_evaluation(method, settings, fullsup) if many else image)


def _seconds_of_step(method: Method, config: TrainConfig, images: ImageStore) -> float:
    """Seconds of a step in the last epoch, when every part of the loss is active. On a CPU a step of many images is
    only measured itself if one of few says that it is quick."""
    if not torch.cuda.is_available() and len(images) > TRAINED_ON_CPU:
        few = _images_at(list(range(TRAINED_ON_CPU)), images, config)
        expected = _seconds_of_batch(method, config, few) * len(images) / len(few)
        if expected > QUICK:
            return expected
    alone = _seconds_of_batch(method, config, images)
    if alone > SHORT:
        return alone
    return _seconds_of_batch(method, config, _images_at(IN_A_ROW * list(range(len(images))), images, config), IN_A_ROW)


def _images_at(positions: list[int], images: ImageStore, config: TrainConfig) -> ImageStore:
    """Some of the images, or some of them again, with a cache beside theirs."""
    data = config.data.model_copy(update={"root": str(images.split.image_root), "stage": None})
    return ImageStore(images.split.only(positions), images.size, data)


def _seconds_of_batch(method: Method, config: TrainConfig, images: ImageStore, steps: int = 1) -> float:
    """Seconds of a step when these images are an epoch of so many steps, at a learning rate that changes little."""
    batch = len(images) // steps
    whole = config.training.model_copy(update={"batch_size": batch})
    slow = config.optim.model_copy(update={"lr": 1e-6})
    config = config.model_copy(update={"training": whole, "optim": slow})
    optimizer, loader = build_optimizer(method, config.optim), build_loader(images, method, config)

    def step() -> float:
        epoch = train_epoch(method, method, optimizer, loader, config.training.epochs, config)
        return batch / epoch["train/images_per_second"]

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
        images = random_images(Path(folder), config, sizes.classes, 1, evaluated)[1]
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
    images, labels = noise_on_device(1, side)
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
    noise, labels = noise_on_device(len(images), images.size)

    def forward() -> float:
        started = time.perf_counter()
        with torch.no_grad(), evaluation_mode(method):
            method.activate(noise, labels).logits.sum().item()
        return time.perf_counter() - started

    return _settled(forward) / len(images)


def _settled(measure: Callable[[], float]) -> float:
    """Seconds of a call, without what happens only the first time."""
    first = measure()
    if first > QUICK:
        return first
    next_ones = [measure()]
    while len(next_ones) < 3 and sum(next_ones) < QUICK:
        next_ones.append(measure())
    return min(next_ones)


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
