"""From image files without annotations to classes and boxes.

    box_rule(metrics, objective, chosen)              -> BoxRule       the score threshold that train_fullsup chose
    read_photos(names, folder, side, ...)             -> photos        as evaluation reads images, always as displayed
    predict_photos(method, photos, config, rule, ...) -> predictions   in the order of the photos, in a stream

The class is unknown, so the map is that of the predicted class. The rest is as in evaluation: extractor, resize,
normalizer, and the boxes that its metrics count at that threshold. They are then scaled to the pixels of the photo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from wsol import build, distributed
from wsol.config import EvaluationConfig
from wsol.data import decoding
from wsol.data.decoding import Pixels, Side
from wsol.data.loading import RawBatch, raw_batch, to_batch
from wsol.evaluation import IMAGES_PER_TASK, evaluation_mode, normalised
from wsol.extractor import extract_together
from wsol.method import Method
from wsol.metric import Metric
from wsol.ops.boxes import Contours, Floats, Ints, boxes_by_level, original_boxes
from wsol.raw_scores import Extracted
from wsol.threads import map_ahead

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class BoxRule:
    """How boxes are found in a score map.

    Attributes:
        threshold: score in [0, 1] above which a pixel is foreground, relative to the map's highest one.
        contours: `all` contours predict a box, or only the `largest`.
        source: the metric that chose the threshold; empty if the user did.
    """

    threshold: float
    contours: Contours
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """An image file as the network sees it.

    Attributes:
        name: the name of the file, relative to the folder of all photos.
        size: width and height in pixels, as displayed.
        pixels: (S, S, 3) uint8 RGB.
    """

    name: str
    size: Side
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Failed:
    """An image file without a prediction, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted class of a photo and its boxes.

    Attributes:
        name: the name of its file, relative to the folder of all photos.
        size: width and height in pixels, as displayed.
        label: the class in [0, K) with the highest probability.
        probability: the probability of that class, in [0, 1].
        boxes: inclusive corners x0 y0 x1 y1 in pixels of the photo as displayed, the box with the largest area first;
            none if the map is all zero.
    """

    name: str
    size: Side
    label: int
    probability: float
    boxes: list[list[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a prediction was made from.

    Attributes:
        prediction: the prediction that was made.
        pixels: (S, S, 3) uint8 RGB, the photo as the network sees it.
        raw_map: (h, w) float32, as the network makes it.
        score_map: (S, S) float64 in [0, 1].
        grid_boxes: (n, 4) int64, the boxes on the grid of the score map, as evaluation counts them.
    """

    prediction: Prediction
    pixels: Pixels
    raw_map: np.ndarray
    score_map: Floats
    grid_boxes: Ints


Finish = Callable[[Evidence], Prediction | Failed]
"""A function that is called for each prediction in a thread, for example to draw it; returns the prediction, or why it
failed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A photo, its raw map (h, w) and the logits (K,), on the CPU."""

    photo: Photo
    raw_map: Tensor
    logits: Tensor


def box_rule(
    metrics: Sequence[Metric], objective: str, chosen: Mapping[str, float], threshold: float | None = None
) -> BoxRule | None:
    """The threshold and contours of the objective's own number; else of the usual number of its metric; else of the
    first metric that has a threshold.

    Args:
        metrics: the metrics of the evaluation.
        objective: a key of the metrics' results.
        chosen: the metrics' results on train_fullsup.
        threshold: the score threshold that the user chose instead; the contours are still the metric's.

    Returns:
        The rule; None if no metric has a threshold.
    """
    known = {key: (value, metric) for metric in metrics for key, value in metric.box_thresholds(chosen).items()}
    akin = [key for key in known if key.partition("/")[0] == objective.partition("/")[0]]
    wanted = [key for key in (objective, *akin, *known) if key in known]
    if threshold is not None:
        return BoxRule(threshold, known[wanted[0]][1].contours if wanted else Metric.contours)
    for key in wanted:
        value, metric = known[key]
        if value is not None:
            return BoxRule(value, metric.contours, key)
    return None


def read_photos(names: Iterable[str], folder: Path, side: int, *, threads: int, ahead: int) -> Iterator[Photo | Failed]:
    """Read files as evaluation reads the images of a user's own data set, in their order.

    Args:
        names: relative to the folder.
        folder: the folder of all photos.
        side: side in pixels of the square that the network sees.
        threads: how many threads read images.
        ahead: how many photos are read in advance.
    """
    return map_ahead(partial(_read, folder=folder, side=side), names, threads=threads, ahead=ahead)


def predict_photos(
    method: Method, files: Iterable[Photo | Failed], config: EvaluationConfig, rule: BoxRule, finish: Finish
) -> Iterator[Prediction | Failed]:
    """Yield the predictions of photos, in their order. The network runs in this thread while boxes are found in others.
    Memory does not grow with the number of photos.

    Args:
        method: the method, on this process's device.
        files: photos as large as the evaluation grid; files that could not be read are passed on.
        config: extractor, normalizer, batch size.
        rule: how boxes are found in a map.
        finish: is called for every prediction, with the evidence that it was made from.
    """
    threads = max(1, torch.get_num_threads())
    few = _chunks(_forward(method, files, config), IMAGES_PER_TASK)
    work = partial(_localise, config=config, rule=rule, finish=finish)
    for found in map_ahead(work, few, threads=threads, ahead=4 * threads):
        yield from found


def _read(name: str, folder: Path, side: int) -> Photo | Failed:
    try:
        with decoding.opened(folder / name) as image:
            return Photo(name, decoding.size(image, displayed=True), decoding.square(image, side, displayed=True))
    except FileNotFoundError:
        return Failed(name, "no such file")
    except decoding.Undecodable as error:
        return Failed(name, f"cannot be decoded ({error})")


def _forward(method: Method, files: Iterable[Photo | Failed], config: EvaluationConfig) -> Iterator[_Seen | Failed]:
    """Run the network on every photo, in batches of the size that evaluation uses."""
    extract, device, backbone = build.extractor(config.extractor), distributed.device(), method.network.backbone
    with evaluation_mode(method):
        for some, raw in map_ahead(_batched, _chunks(files, config.batch_size), threads=1, ahead=1):
            if raw is None:
                yield from (file for file in some if isinstance(file, Failed))
                continue
            batch = to_batch(raw, device, backbone.pixel_mean, backbone.pixel_std, backbone.memory_format)
            made = extract_together([extract], method, batch.images, None)[0]
            rows = zip(made.maps.detach().float().cpu(), made.logits.detach().float().cpu(), strict=True)
            yield from (file if isinstance(file, Failed) else _Seen(file, *next(rows)) for file in some)


def _batched(files: list[Photo | Failed]) -> tuple[list[Photo | Failed], RawBatch | None]:
    """The files, and the photos among them; None where there is none."""
    photos = [file for file in files if isinstance(file, Photo)]
    if not photos:
        return files, None
    pixels, names = np.stack([photo.pixels for photo in photos]), tuple(photo.name for photo in photos)
    return files, raw_batch(pixels, np.zeros(len(photos), np.int64), names)


def _localise(
    few: list[_Seen | Failed], config: EvaluationConfig, rule: BoxRule, finish: Finish
) -> list[Prediction | Failed]:
    """The maps on the grid, normalised, and their boxes."""
    seen = [one for one in few if isinstance(one, _Seen)]
    if not seen:
        return [one for one in few if isinstance(one, Failed)]
    raw = Extracted(config.extractor, torch.stack([one.raw_map for one in seen]), None)
    score_maps = iter(normalised(raw.resized(len(seen[0].photo.pixels), config.interpolation), config))
    return [one if isinstance(one, Failed) else finish(_evidence(one, next(score_maps), rule)) for one in few]


def _evidence(seen: _Seen, score_map: Floats, rule: BoxRule) -> Evidence:
    photo, grid = seen.photo, (score_map.shape[1], score_map.shape[0])
    grid_boxes = boxes_by_level(score_map).predicted(rule.threshold, rule.contours)
    probability, label = seen.logits.double().softmax(0).max(0)
    boxes: list[list[int]] = original_boxes(grid_boxes, photo.size, grid).tolist()
    prediction = Prediction(photo.name, photo.size, int(label), float(probability), boxes)
    return Evidence(prediction, photo.pixels, seen.raw_map.numpy(), score_map, grid_boxes)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive items, `size` at a time; the last ones may be fewer."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
