"""The numbers that are published: every metric with its 95 % interval and its curve over thresholds, from a network or
from a folder of maps.

    score(method, images, config)           -> Scores
    score_together(pipelines, images)       -> Scores of each, from one pass over the images
    score_files(folder, split, config)      -> Scores      maps from elsewhere, `<image_id>.npy`, (h, w) of any size
    saved(raw, split, folder, config)       writes such a folder while scoring

During training, `wsol/evaluation.py` computes the same metrics without intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wsol.bootstrap import Bootstrap, interval
from wsol.build import metrics as build_metrics
from wsol.config import EvaluationConfig
from wsol.data.dataset import Split
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.evaluation import Counts, Pipeline, count, forward, forward_together, require_countable
from wsol.method import Method
from wsol.ops.boxes import Floats
from wsol.pace import paced
from wsol.raw_scores import Extracted, RawScores

MAX_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of some images.

    Attributes:
        metrics: name -> value; see `evaluate`.
        replicates: the same names -> R bootstrap replicates (R,), NaN where one is not defined.
        curves: name -> percent over score thresholds (T,), of metrics that have such a curve.
        threshold_step: distance of those thresholds, which start at 0.
    """

    metrics: dict[str, float]
    replicates: dict[str, Floats]
    curves: dict[str, Floats]
    threshold_step: float

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Name -> 95 % interval over images."""
        found = {name: interval(values) for name, values in self.replicates.items()}
        return {name: bounds for name, bounds in found.items() if bounds is not None}


def score(
    method: Method,
    images: ImageStore,
    config: EvaluationConfig,
    chosen: Mapping[str, float] | None = None,
    save_to: Path | None = None,
) -> Scores:
    """Score a split with one network, alone (other workers must not take part).

    Args:
        method: the method, on this process's device.
        images: the images of an annotated split, as large as the evaluation grid.
        config: extractor, normalizer, metrics, thresholds.
        chosen: results on the split that selects; the numbers at the score thresholds chosen there are added, under
            keys with `fixed`.
        save_to: a folder for the raw maps, as `score_files` reads them.
    """
    raw = forward(method, images, [config], config.batch_size)
    kept = saved(raw, images.split, save_to, config) if save_to else raw
    return _scored(kept, images.split, images.size, [Pipeline(config)], chosen or {})[0]


def score_together(pipelines: Sequence[Pipeline], images: ImageStore) -> list[Scores]:
    """`score` each pipeline, in one pass over the images; methods that share a backbone share its pass too."""
    raw = forward_together(pipelines, images, pipelines[0].config.batch_size)
    return _scored(raw, images.split, images.size, pipelines, {})


def score_files(
    folder: Path, split: Split, size: int, config: EvaluationConfig, chosen: Mapping[str, float] | None = None
) -> Scores:
    """Score maps from files. There is no classifier, so `top1` gives only its GT-known number.

    Args:
        folder: holds `<image_id>.npy` for every image of the split: (h, w), real numbers of any scale.
        split: an annotated split.
        size: side in pixels of the evaluation grid, to which maps of another size are resized.
        config: normalizer, metrics, thresholds.
        chosen: results on the split that selects; see `score`.

    Raises:
        InputError: maps are missing, or files hold no maps.
    """
    map_sizes(folder, split)  # every problem is named before the first map is scored
    return _scored(_read(folder, split, config), split, size, [Pipeline(config)], chosen or {})[0]


def map_sizes(folder: Path, split: Split) -> Counter[tuple[int, int]]:
    """The sizes (h, w) of the maps in a folder, with the number of maps of each, from the headers of the files.

    Raises:
        InputError: maps are missing or unusable; the message lists up to ten problems.
    """
    problems, sizes = [], Counter[tuple[int, int]]()
    for image_id in split.image_ids:
        try:
            sizes[_opened(map_path(folder, image_id)).shape] += 1
        except InputError as error:
            problems.append(str(error))
    if problems:
        more = [f"... and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        head = (
            f"{folder}: {len(problems)} of the {len(split)} maps of {split.name} cannot be used; each is expected at"
            " <image_id>.npy"
        )
        raise InputError("\n".join([head, *problems[:MAX_PROBLEMS], *more]))
    return sizes


def map_path(folder: Path, image_id: str) -> Path:
    """The path of an image's map; ids may contain slashes, and keep their ending."""
    return folder / f"{image_id}.npy"


def saved(raw: Iterable[RawScores], split: Split, folder: Path, config: EvaluationConfig) -> Iterator[RawScores]:
    """Pass scores on and write the maps of the configured extractor, raw and in the network's own size, so that scoring
    the files gives the same counts."""
    for batch in raw:
        maps = batch.by(config.extractor).maps.numpy()
        for position, score_map in zip(batch.positions, maps, strict=True):
            path = map_path(folder, split.image_ids[position])
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, score_map)
        yield batch


def _scored(
    raw: Iterable[RawScores], split: Split, size: int, pipelines: Sequence[Pipeline], chosen: Mapping[str, float]
) -> list[Scores]:
    for pipeline in pipelines:
        require_countable(split, size, pipeline.config)
    pipelines = [pipeline.on(split.name) for pipeline in pipelines]
    totals = [_Total(pipeline.config) for pipeline in pipelines]
    each = count(raw, split, size, pipelines, singly=True)
    label = f"scoring {split.name}"
    for image_id, parts in zip(split.image_ids, paced(each, label, len(split), log=None), strict=True):
        for total, part in zip(totals, parts, strict=True):
            total.add(image_id, part)
    return [total.scores(chosen) for total in totals]


class _Total:
    """The counts of all images under one setting, in total and in every replicate."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.counts, self.bootstrap = Counts(config), Bootstrap(build_metrics(config))

    def add(self, image_id: str, part: Counts) -> None:
        self.counts.merge(part)
        self.bootstrap.add(image_id, [metric.state() for metric in part.metrics])

    def scores(self, chosen: Mapping[str, float]) -> Scores:
        curves = {name: curve for metric in self.counts.metrics for name, curve in metric.over_thresholds().items()}
        return Scores(
            self.counts.compute(chosen), self.bootstrap.compute(chosen), curves, self.counts.config.threshold_step
        )


def _read(folder: Path, split: Split, config: EvaluationConfig) -> Iterator[RawScores]:
    """Read the maps as if the configured extractor had made them, in float64, so that the scale of a map does not
    matter."""
    for position, image_id in enumerate(split.image_ids):
        score_map = np.array(_opened(map_path(folder, image_id)), np.float64)
        yield RawScores([position], [Extracted(config.extractor, torch.from_numpy(score_map)[None], None)])


def _opened(path: Path) -> np.ndarray:
    """Open a map (h, w) without reading its values. Raises InputError if the file holds no map."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: is no array of numbers ({error})") from None
    if (
        array.ndim != 2
        or array.size == 0
        or not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer))
    ):
        raise InputError(f"{path}: a map is (h, w) of real numbers, this is {array.shape} {array.dtype}")
    return array
