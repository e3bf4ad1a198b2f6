"""From a method to numbers: extractor -> resize -> normalizer -> metrics. The order is fixed here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from wsol import build, distributed
from wsol.config import EvaluationConfig
from wsol.errors import InputError
from wsol.images import ImageStore
from wsol.loading import EvalLoader, to_batch
from wsol.method import Method
from wsol.metric import Sample
from wsol.ops.resize import resize_maps
from wsol.threads import map_ahead

IMAGES_PER_TASK = 8


@dataclass(frozen=True, slots=True)
class RawScores:
    """What the network says of some images, on the CPU: positions in the split, raw maps (b, h, w) float32, logits (b, K)."""

    positions: list[int]
    maps: Tensor
    logits: Tensor


def evaluate(method: Method, images: ImageStore, config: EvaluationConfig, chosen: Mapping[str, float] | None = None) -> dict[str, float]:
    """Score a split with all metrics in one pass.

    Every worker takes the positions rank, rank + world, ...; only integer counts are summed over the workers, so the result does
    not depend on their number.

    Args:
        method: on this worker's device.
        images: of an annotated split, as large as the evaluation grid.
        config: extractor, normalizer, metrics, thresholds.
        chosen: results on the split that selects; the numbers at the score thresholds chosen there are added, under keys with `fixed`.

    Returns:
        metric name -> value, and `degenerate_maps`: how many maps were constant or not finite and scored as all zero.
    """
    return evaluate_settings(method, images, [config], chosen)[0]


def evaluate_settings(
    method: Method, images: ImageStore, settings: list[EvaluationConfig], chosen: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """`evaluate` under several settings; those with the same extractor share one forward pass."""
    results: dict[int, dict[str, float]] = {}
    while len(results) < len(settings):
        first = next(config for index, config in enumerate(settings) if index not in results)
        alike = {index: config for index, config in enumerate(settings) if config.extractor == first.extractor}
        results.update(zip(alike, _evaluate_alike(method, images, list(alike.values()), chosen or {}), strict=True))
    return [results[index] for index in range(len(settings))]


def _evaluate_alike(method: Method, images: ImageStore, settings: list[EvaluationConfig], chosen: Mapping[str, float]) -> Iterator[dict[str, float]]:
    totals = [_Counts(config) for config in settings]
    for parts in _count(method, images, settings):
        for total, part in zip(totals, parts, strict=True):
            total.merge(part)
    return (total.over_workers().compute(chosen) for total in totals)


class _Counts:
    """What is counted under one setting: the metrics, and how many maps were all zero."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.config, self.metrics, self.degenerate = config, build.metrics(config), torch.zeros((), dtype=torch.int64)

    def update(self, sample: Sample) -> None:
        self.degenerate += int(not sample.score_map.any())
        for metric in self.metrics:
            metric.update(sample)

    def merge(self, other: _Counts) -> None:
        self.degenerate += other.degenerate
        for metric, part in zip(self.metrics, other.metrics, strict=True):
            metric.merge(part.state())

    def over_workers(self) -> _Counts:
        total = _Counts(self.config)
        total.degenerate = distributed.sum_over_workers(self.degenerate)
        for metric, own in zip(total.metrics, self.metrics, strict=True):
            metric.merge({name: distributed.sum_over_workers(value) for name, value in own.state().items()})
        return total

    def compute(self, chosen: Mapping[str, float]) -> dict[str, float]:
        results: dict[str, float] = {}
        for metric in self.metrics:
            results.update(metric.compute(), **metric.compute_at(chosen))
        return {**results, "degenerate_maps": float(self.degenerate)}


def require_countable(images: ImageStore, config: EvaluationConfig) -> None:
    """Try the metrics on the first image of a split, with an empty map.

    Raises:
        InputError: a metric can not count what the split is annotated with, such as boxes where there are masks.
    """
    sample = Sample(np.zeros((images.size, images.size)), images.split.annotation(0, images.size), 0, None, config.threshold_step)
    for metric, settings in zip(build.metrics(config), config.metrics, strict=True):
        try:
            metric.update(sample)
        except ValueError as error:
            raise InputError(f"evaluation.metrics: {settings.name} on {images.split.name}: {error}") from None


def localize(method: Method, images: ImageStore, config: EvaluationConfig) -> Iterator[Sample]:
    """The scored images of a split themselves, in its order, for looking at them."""
    for raw in forward(method, images, config, rank=0, world=1):
        yield from _samples(raw, images, config)


def forward(method: Method, images: ImageStore, config: EvaluationConfig, *, rank: int, world: int) -> Iterator[RawScores]:
    """Raw maps of the labelled classes and logits of a worker's share of a split, batch by batch."""
    extractor, device = build.extractor(config), distributed.device()
    backbone = method.network.backbone
    with evaluation_mode(method):
        for raw, positions in EvalLoader(images.split, images, batch_size=config.batch_size, rank=rank, world=world):
            batch = to_batch(raw, device, backbone.pixel_mean, backbone.pixel_std)
            scores = extractor(method, batch.images, batch.labels)
            yield RawScores(positions, scores.maps.detach().float().cpu(), scores.logits.detach().float().cpu())


@contextmanager
def evaluation_mode(method: Method) -> Iterator[None]:
    """Evaluation mode inside, the former mode of every module afterwards."""
    modes = [(module, module.training) for module in method.modules()]
    method.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _count(method: Method, images: ImageStore, settings: list[EvaluationConfig]) -> Iterator[list[_Counts]]:
    """Counts of a few images at a time, in threads (finding boxes releases the GIL) while the network works on the next batch."""
    threads = max(1, torch.get_num_threads())
    batches = forward(method, images, settings[0], rank=distributed.rank(), world=distributed.world())
    few = (part for raw in batches for part in _parts(raw))
    yield from map_ahead(partial(_count_few, images=images, settings=settings), few, threads=threads, ahead=4 * threads)


def _parts(raw: RawScores) -> Iterator[RawScores]:
    for start in range(0, len(raw.positions), IMAGES_PER_TASK):
        part = slice(start, start + IMAGES_PER_TASK)
        yield RawScores(raw.positions[part], raw.maps[part], raw.logits[part])


def _count_few(raw: RawScores, images: ImageStore, settings: list[EvaluationConfig]) -> list[_Counts]:
    counts = [_Counts(config) for config in settings]
    for counted in counts:
        for sample in _samples(raw, images, counted.config):
            counted.update(sample)
    return counts


def _samples(raw: RawScores, images: ImageStore, config: EvaluationConfig) -> Iterator[Sample]:
    """Resize first, then normalise (the published order: the other one leaves values outside [0, 1])."""
    maps = build.normalizer(config)(resize_maps(raw.maps, (images.size, images.size))).numpy()
    split = images.split
    for position, score_map, logits in zip(raw.positions, maps, raw.logits.numpy(), strict=True):
        yield Sample(score_map, split.annotation(position, images.size), int(split.labels[position]), logits, config.threshold_step)
