"""From a method to numbers: extractor -> resize -> normalizer -> metrics. The order is fixed here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from wsol import build, distributed
from wsol.config import EvaluationConfig
from wsol.data.dataset import Split
from wsol.data.images import ImageStore
from wsol.data.loading import EvalLoader, to_batch
from wsol.errors import InputError
from wsol.extractor import PassExtractor, extract_with, find_blocks
from wsol.method import Method
from wsol.metric import Sample
from wsol.ops.boxes import Floats
from wsol.ops.resize import resize_maps
from wsol.raw_scores import Extracted, RawScores
from wsol.schema import PluginConfig
from wsol.threads import map_ahead
from wsol.types import ScoreMaps

IMAGES_PER_TASK = 8


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """The settings that lead from images to numbers.

    Attributes:
        config: extractor, normalizer, metrics, thresholds.
        method: the method that makes the maps; None if all maps are from one method, or from files.
    """

    config: EvaluationConfig
    method: Method | None = None

    def on(self, split: str) -> Pipeline:
        """What of it is counted on a split."""
        return Pipeline(self.config.on(split), self.method)


def evaluate(method: Method, images: ImageStore, config: EvaluationConfig) -> dict[str, float]:
    """Score a split with all metrics in one pass.

    Every worker takes the positions rank, rank + world, ...; only integer counts are summed over the workers, so the
    result does not depend on their number.

    Args:
        method: the method, on this worker's device.
        images: the images of an annotated split, as large as the evaluation grid.
        config: extractor, normalizer, metrics, thresholds.

    Returns:
        metric name -> value; `degenerate_maps`: how many maps were constant or not finite and were scored as all zero;
        and, if there is a classifier, `loss/classification`: its mean cross-entropy.
    """
    return evaluate_together([Pipeline(config, method)], images)[0]


def evaluate_together(pipelines: Sequence[Pipeline], images: ImageStore) -> list[dict[str, float]]:
    """`evaluate` each pipeline, in one pass over the images; methods that share a backbone share its pass too."""
    pipelines = [pipeline.on(images.split.name) for pipeline in pipelines]
    totals = [Counts(pipeline.config) for pipeline in pipelines]
    batch_size = pipelines[0].config.batch_size
    raw = forward_together(pipelines, images, batch_size, rank=distributed.rank(), world=distributed.world())
    for parts in count(raw, images.split, images.size, pipelines):
        for total, part in zip(totals, parts, strict=True):
            total.merge(part)
    return [total.over_workers().compute({}) for total in totals]


class Counts:
    """The counts under one setting: the metrics, how many maps were all zero, and the cross-entropy of the
    classifier."""

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
        """Add the counts of another instance. Raises ValueError if it counted under another setting."""
        if other.config != self.config:
            raise ValueError("only counts under the same setting can be added")
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
        """All metrics; see `evaluate`.

        Args:
            chosen: results on the split that selects; the numbers at the score thresholds chosen there are added, under
                keys with `fixed`.
        """
        results: dict[str, float] = {}
        for metric in self.metrics:
            results.update(metric.compute(), **metric.compute_at(chosen))
        loss, images = self.loss.tolist()
        return {
            **results,
            "degenerate_maps": float(self.degenerate),
            **({"loss/classification": loss / images} if images else {}),
        }


def require_countable(split: Split, size: int, config: EvaluationConfig) -> None:
    """Try the metrics on the first image of a split, with an empty map on an evaluation grid of `size` x `size` pixels.

    Raises:
        InputError: a metric cannot use the annotations of the split, such as masks where it needs boxes.
    """
    here = config.on(split.name)
    sample = Sample(np.zeros((size, size)), split.annotation(0, size), 0, None, config.threshold_step)
    for metric, settings in zip(build.metrics(here), here.metrics, strict=True):
        try:
            metric.update(sample)
        except ValueError as error:
            where = "metrics" if settings in config.metrics else "test_metrics"
            hint = split.without_masks and f"; {split.without_masks}"
            raise InputError(f"evaluation.{where}: {settings.name} on {split.name}: {error}{hint}") from None


def require_extractors(method: Method, settings: list[EvaluationConfig], side: int) -> None:
    """Try the extractors of some settings on the CPU, on one image of noise with `side` x `side` pixels; those with a
    pass for every channel are not run.

    Raises:
        InputError: an extractor names a block that the backbone does not have, or needs a gradient that the method does
            not have there.
    """
    asked = _each_once([(method, config.extractor) for config in settings])
    extractors = [build.extractor(extractor) for _, extractor in asked]
    find_blocks(method.network.backbone, extractors)
    tried = [one for one in extractors if not (isinstance(one, PassExtractor) and one.passes(2) > one.passes(1))]
    images, labels = torch.randn(1, 3, side, side), torch.zeros(1, dtype=torch.int64)
    with evaluation_mode(method):
        extract_with([(method, one) for one in tried], images, labels)


def localize(method: Method, images: ImageStore, config: EvaluationConfig) -> Iterator[Sample]:
    """The scored images of a split themselves, in its order, for looking at them."""
    for raw in forward(method, images, [config], config.batch_size):
        yield from _samples(raw.resized(images.size, config.interpolation), images.split, images.size, Pipeline(config))


def further_maps(method: Method, images: ImageStore, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """The further maps that a method shows of each image of a split, in its order: name -> map (S, S) on the evaluation
    grid, from 0, its lowest value, to 1, its highest. See `Method.further_maps`."""
    device, backbone = distributed.device(), method.network.backbone
    rescale = build.normalizer(EvaluationConfig())
    with evaluation_mode(method):
        for raw, positions in EvalLoader(images.split, images, batch_size=batch_size, rank=0, world=1):
            batch = to_batch(raw, device, backbone.pixel_mean, backbone.pixel_std, backbone.memory_format)
            found = {
                name: rescale(resize_maps(maps.float().cpu(), (images.size, images.size))).numpy()
                for name, maps in method.further_maps(batch.images, batch.labels).items()
            }
            yield from ({name: maps[index] for name, maps in found.items()} for index in range(len(positions)))


def forward(
    method: Method, images: ImageStore, settings: list[EvaluationConfig], batch_size: int
) -> Iterator[RawScores]:
    """Raw maps of the labelled classes and logits of a split, batch by batch, by every extractor of the settings."""
    return forward_together([Pipeline(config, method) for config in settings], images, batch_size)


def forward_together(
    pipelines: Sequence[Pipeline], images: ImageStore, batch_size: int, *, rank: int = 0, world: int = 1
) -> Iterator[RawScores]:
    """Raw maps and logits of a worker's share of a split, batch by batch, by every extractor of each method."""
    asked = _each_once([(pipeline.method, pipeline.config.extractor) for pipeline in pipelines if pipeline.method])
    extract, device = [(method, build.extractor(extractor)) for method, extractor in asked], distributed.device()
    backbone = asked[0][0].network.backbone
    with ExitStack() as stack:
        for method, _ in asked:
            stack.enter_context(evaluation_mode(method))
        for raw, positions in EvalLoader(images.split, images, batch_size=batch_size, rank=rank, world=world):
            batch = to_batch(raw, device, backbone.pixel_mean, backbone.pixel_std, backbone.memory_format)
            made = extract_with(extract, batch.images, batch.labels)
            yield RawScores(positions, [_on_cpu(*one, scores) for one, scores in zip(asked, made, strict=True)])


Asked = tuple[Method, PluginConfig]


def _each_once(asked: list[Asked]) -> list[Asked]:
    """Each extractor once, compared by value because not every setting can be hashed."""
    return [one for index, one in enumerate(asked) if one not in asked[:index]]


def _on_cpu(method: Method, extractor: PluginConfig, made: ScoreMaps) -> Extracted:
    return Extracted(extractor, made.maps.detach().float().cpu(), made.logits.detach().float().cpu(), method)


def _cross_entropy(logits: np.ndarray, label: int) -> float:
    """The cross-entropy of one image from its logits (K,) and its class."""
    shifted = logits.astype(np.float64) - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


@contextmanager
def evaluation_mode(method: Method) -> Iterator[None]:
    """Evaluation mode for the time of the block; afterwards every module has its former mode again."""
    modes = [(module, module.training) for module in method.modules()]
    method.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def count(
    raw: Iterable[RawScores], split: Split, size: int, pipelines: Sequence[Pipeline], *, singly: bool = False
) -> Iterator[list[Counts]]:
    """Count a few images in every pipeline, in threads (finding boxes releases the GIL), while the network works on the
    next batch.

    Args:
        raw: maps by the extractor of each pipeline.
        split: the images with their annotations.
        size: side in pixels of the evaluation grid.
        pipelines: the pipelines to count in.
        singly: count one image at a time, in the order of `raw`.
    """
    threads = max(1, torch.get_num_threads())
    few = (part for batch in raw for part in _parts(batch, 1 if singly else IMAGES_PER_TASK))
    yield from map_ahead(
        partial(_count_few, split=split, size=size, pipelines=pipelines), few, threads=threads, ahead=4 * threads
    )


def _parts(raw: RawScores, images: int) -> Iterator[RawScores]:
    for start in range(0, len(raw.positions), images):
        yield raw.part(slice(start, start + images))


def _count_few(raw: RawScores, split: Split, size: int, pipelines: Sequence[Pipeline]) -> list[Counts]:
    resized = {way: raw.resized(size, way) for way in {pipeline.config.interpolation for pipeline in pipelines}}
    return [
        _counted(_samples(resized[pipeline.config.interpolation], split, size, pipeline), pipeline.config)
        for pipeline in pipelines
    ]


def _counted(samples: Iterable[Sample], config: EvaluationConfig) -> Counts:
    counts = Counts(config)
    for sample in samples:
        counts.update(sample)
    return counts


def _samples(resized: RawScores, split: Split, size: int, pipeline: Pipeline) -> Iterator[Sample]:
    config, made = pipeline.config, resized.by(pipeline.config.extractor, pipeline.method)
    score_maps = normalised(made, config)
    for index, (position, score_map) in enumerate(zip(resized.positions, score_maps, strict=True)):
        logits = None if made.logits is None else made.logits[index].numpy()
        annotation = split.annotation(position, size)
        yield Sample(score_map, annotation, int(split.labels[position]), logits, config.threshold_step)


def normalised(resized: Extracted, config: EvaluationConfig) -> Floats:
    """Score maps (n, S, S) float64 in [0, 1] of resized maps (the published order; normalising first would leave values
    outside)."""
    scaled: Floats = build.normalizer(config)(resized.maps).numpy()
    return scaled
