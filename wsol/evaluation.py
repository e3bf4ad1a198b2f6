"""From a method to numbers: extractor -> resize -> normalizer -> metrics. The order is fixed here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from wsol import build, distributed
from wsol.config import EvaluationConfig
from wsol.data.dataset import Split
from wsol.data.images import ImageStore
from wsol.data.loading import EvalLoader, to_batch
from wsol.errors import InputError
from wsol.extractor import extract_together, find_blocks
from wsol.method import Method
from wsol.metric import Sample
from wsol.ops.resize import resize_maps
from wsol.threads import map_ahead

IMAGES_PER_TASK = 8


@dataclass(frozen=True, slots=True)
class RawScores:
    """What is known of some images before their maps are resized, on the CPU.

    Attributes:
        positions: n places in the split.
        maps: one tensor (n, h, w) float32 for each extractor.
        logits: likewise (n, K); None where there is no classifier.
    """

    positions: list[int]
    maps: list[Tensor]
    logits: list[Tensor | None]


def evaluate(
    method: Method, images: ImageStore, config: EvaluationConfig, chosen: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Score a split with all metrics in one pass.

    Every worker takes the positions rank, rank + world, ...; only integer counts are summed over the workers, so the
    result does not depend on their number.

    Args:
        method: on this worker's device.
        images: of an annotated split, as large as the evaluation grid.
        config: extractor, normalizer, metrics, thresholds.
        chosen: results on the split that selects; the numbers at the score thresholds chosen there are added, under
            keys with `fixed`.

    Returns:
        metric name -> value; `degenerate_maps`: how many maps were constant or not finite and scored as all zero; and
        where there is a classifier `loss/classification`: its mean cross-entropy.
    """
    return evaluate_settings(method, images, [config], chosen)[0]


def evaluate_settings(
    method: Method, images: ImageStore, settings: list[EvaluationConfig], chosen: Mapping[str, float] | None = None
) -> list[dict[str, float]]:
    """`evaluate` under several settings, with one pass of the network over the images for all of them."""
    totals = [Counts(config) for config in settings]
    raw = forward(
        method, images, extractors(settings), settings[0].batch_size, rank=distributed.rank(), world=distributed.world()
    )
    for parts in count(raw, images.split, images.size, settings):
        for total, part in zip(totals, parts, strict=True):
            total.merge(part)
    return [total.over_workers().compute(chosen or {}) for total in totals]


def extractors(settings: list[EvaluationConfig]) -> list[EvaluationConfig]:
    """The first of the settings with each extractor."""
    return [
        config
        for index, config in enumerate(settings)
        if config.extractor not in [other.extractor for other in settings[:index]]
    ]


class Counts:
    """What is counted under one setting: the metrics, how many maps were all zero, and the cross-entropy of the
    classifier's images."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.config, self.metrics, self.degenerate = config, build.metrics(config), torch.zeros((), dtype=torch.int64)
        self.loss = torch.zeros(2, dtype=torch.float64)  # sum, images

    def update(self, sample: Sample) -> None:
        """Count one image."""
        self.degenerate += int(not sample.score_map.any())
        if sample.logits is not None:
            self.loss += torch.tensor([_cross_entropy(sample.logits, sample.label), 1.0], dtype=torch.float64)
        for metric in self.metrics:
            metric.update(sample)

    def merge(self, other: Counts) -> None:
        """Add what another one counted."""
        self.degenerate += other.degenerate
        self.loss += other.loss
        for metric, part in zip(self.metrics, other.metrics, strict=True):
            metric.merge(part.state())

    def over_workers(self) -> Counts:
        """The sum of all workers."""
        total = Counts(self.config)
        total.degenerate, total.loss = (
            distributed.sum_over_workers(self.degenerate),
            distributed.sum_over_workers(self.loss),
        )
        for metric, own in zip(total.metrics, self.metrics, strict=True):
            metric.merge({name: distributed.sum_over_workers(value) for name, value in own.state().items()})
        return total

    def compute(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """All metrics; see `evaluate`."""
        results: dict[str, float] = {}
        for metric in self.metrics:
            results.update(metric.compute(), **metric.compute_at(chosen))
        loss, images = self.loss.tolist()
        return {
            **results,
            "degenerate_maps": float(self.degenerate),
            **({"loss/classification": loss / images} if images else {}),
        }


def require_countable(images: ImageStore, config: EvaluationConfig) -> None:
    """Try the metrics on the first image of a split, with an empty map.

    Raises:
        InputError: a metric can not count what the split is annotated with, such as boxes where there are masks.
    """
    sample = Sample(
        np.zeros((images.size, images.size)), images.split.annotation(0, images.size), 0, None, config.threshold_step
    )
    for metric, settings in zip(build.metrics(config), config.metrics, strict=True):
        try:
            metric.update(sample)
        except ValueError as error:
            raise InputError(f"evaluation.metrics: {settings.name} on {images.split.name}: {error}") from None


def require_blocks(method: Method, settings: list[EvaluationConfig]) -> None:
    """Raises InputError where an extractor asks for a block that the method's backbone does not have."""
    find_blocks(method.network.backbone, [build.extractor(config) for config in settings])


def localize(method: Method, images: ImageStore, config: EvaluationConfig) -> Iterator[Sample]:
    """The scored images of a split themselves, in its order, for looking at them."""
    for raw in forward(method, images, [config], config.batch_size, rank=0, world=1):
        yield from _samples(raw, images.split, images.size, [config])[0]


def forward(
    method: Method,
    images: ImageStore,
    settings: list[EvaluationConfig],
    batch_size: int,
    *,
    rank: int = 0,
    world: int = 1,
) -> Iterator[RawScores]:
    """Raw maps of the labelled classes and logits of a worker's share of a split, batch by batch, by the extractor of
    each setting."""
    extract, device = [build.extractor(config) for config in settings], distributed.device()
    backbone = method.network.backbone
    with evaluation_mode(method):
        for raw, positions in EvalLoader(images.split, images, batch_size=batch_size, rank=rank, world=world):
            batch = to_batch(raw, device, backbone.pixel_mean, backbone.pixel_std)
            scores = extract_together(extract, method, batch.images, batch.labels)
            maps, logits = (
                [score.maps.detach().float().cpu() for score in scores],
                [score.logits.detach().float().cpu() for score in scores],
            )
            yield RawScores(positions, maps, list(logits))


def _cross_entropy(logits: np.ndarray, label: int) -> float:
    """Of one image: logits (K,), its class."""
    shifted = logits.astype(np.float64) - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


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


def count(
    raw: Iterable[RawScores], split: Split, size: int, settings: list[EvaluationConfig], *, singly: bool = False
) -> Iterator[list[Counts]]:
    """What a few images add under every setting, in threads (finding boxes releases the GIL) while the network works on
    the next batch.

    Args:
        raw: maps by each of `extractors(settings)`.
        split: has the annotations.
        size: side in pixels of the evaluation grid.
        settings: what to count.
        singly: one image at a time, in the order of `raw`.
    """
    threads = max(1, torch.get_num_threads())
    few = (part for batch in raw for part in _parts(batch, 1 if singly else IMAGES_PER_TASK))
    yield from map_ahead(
        partial(_count_few, split=split, size=size, settings=settings), few, threads=threads, ahead=4 * threads
    )


def _parts(raw: RawScores, images: int) -> Iterator[RawScores]:
    for start in range(0, len(raw.positions), images):
        part = slice(start, start + images)
        logits = [None if values is None else values[part] for values in raw.logits]
        yield RawScores(raw.positions[part], [maps[part] for maps in raw.maps], logits)


def _count_few(raw: RawScores, split: Split, size: int, settings: list[EvaluationConfig]) -> list[Counts]:
    counts = [Counts(config) for config in settings]
    for counted, samples in zip(counts, _samples(raw, split, size, settings), strict=True):
        for sample in samples:
            counted.update(sample)
    return counts


def _samples(raw: RawScores, split: Split, size: int, settings: list[EvaluationConfig]) -> list[Iterator[Sample]]:
    """Resize first, then normalise (the published order: the other one leaves values outside [0, 1])."""
    kinds = [config.extractor for config in extractors(settings)]
    resized = [resize_maps(maps, (size, size)) for maps in raw.maps]

    def under(config: EvaluationConfig) -> Iterator[Sample]:
        kind = kinds.index(config.extractor)
        score_maps, logits = build.normalizer(config)(resized[kind]).numpy(), raw.logits[kind]
        for index, (position, score_map) in enumerate(zip(raw.positions, score_maps, strict=True)):
            own = None if logits is None else logits[index].numpy()
            yield Sample(
                score_map, split.annotation(position, size), int(split.labels[position]), own, config.threshold_step
            )

    return [under(config) for config in settings]
