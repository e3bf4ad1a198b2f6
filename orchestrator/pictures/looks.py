"""Which images of a split are worth a look: hits, misses, the smallest objects and the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.data.images import ImageStore
    from wsol.method import Method
    from wsol.metric import Sample


LOOKED_AT = 400
"""Images that are looked at, if the data set has so many; at least one of each class."""


PER_TAB = 12


HIT = 0.5


THRESHOLDS = ("max_box_acc_v2/threshold_50", "max_box_acc/threshold_50", "gt_known/loc_threshold", "piou/threshold")
"""The metrics that choose a score threshold for one region, the first that is there counts."""


@dataclass(frozen=True, slots=True)
class View:
    """One way to see an image: a column of the grid.

    Attributes:
        label: what the column is called.
        method: with its weights, on the device.
        config: of the run, for its evaluation.
        metrics: on train_fullsup, which choose the score threshold of the regions.
    """

    label: str
    method: Method
    config: TrainConfig
    metrics: Mapping[str, float]

    @property
    def threshold(self) -> float | None:
        """The score from which on a pixel belongs to the object; None where no metric chooses one."""
        return threshold_of(self.metrics)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One image through one view.

    Attributes:
        score_map: (S, S) uint8, the scores times 255.
        region: what is predicted: a box (4,), or a mask (S, S) bool where the data set has masks.
        truth: what is right: boxes (n, 4), or a mask (S, S) bool.
        iou: of the region with the truth, in [0, 1].
        size: of the largest true box, or of the mask, in percent of the image.
    """

    score_map: np.ndarray
    region: np.ndarray
    truth: np.ndarray
    iou: float
    size: float


def threshold_of(metrics: Mapping[str, float]) -> float | None:
    """The score threshold that some metrics chose on train_fullsup; None where they choose none."""
    return next((metrics[name] for name in THRESHOLDS if name in metrics), None)


def look_at(view: View, images: ImageStore) -> list[Look]:
    """Every image of a split through a view."""
    from wsol.evaluation import localize

    threshold = view.threshold or 0.0
    return [_look(sample, threshold) for sample in localize(view.method, images, view.config.evaluation)]


def _look(sample: Sample, threshold: float) -> Look:
    from wsol.ops.boxes import iou

    score_map, mask = (sample.score_map * 255).astype(np.uint8), sample.annotation.mask
    if mask is None:
        box, boxes = sample.level_boxes.largest[int(threshold * sample.level_boxes.peak)], sample.grid_boxes
        share = int((boxes[:, 2:] - boxes[:, :2] + 1).prod(1).max()) / score_map.size
        return Look(score_map, box, boxes, float(iou(box[None], boxes).max()), 100 * share)
    truth = mask == 1
    region = (sample.score_map >= threshold) & (mask != 255)
    overlap = int(np.count_nonzero(region & truth)) / max(int(np.count_nonzero(region | truth)), 1)
    return Look(score_map, region, truth, overlap, 100 * float(truth.mean()))


def choose_images(overlaps: Sequence[Sequence[float]], sizes: Sequence[float]) -> dict[str, list[int]]:
    """Which images stand in which tab.

    Args:
        overlaps: IoU of every image in every view, the winner first.
        sizes: of the objects, in percent of the image.

    Returns:
        `hits` and `misses`, evenly from the best to the worst; the smallest objects under `small`; under
        `disagreements` those where the views differ most, with several views only. Tabs without images are left out.
    """
    values = np.array(overlaps)
    ranked = [int(place) for place in np.argsort(-values[0], kind="stable")]
    spread = values.max(0) - values.min(0)
    tabs = {
        "hits": _evenly([place for place in ranked if values[0, place] >= HIT]),
        "misses": _evenly([place for place in ranked if values[0, place] < HIT]),
        "small": [int(place) for place in np.argsort(sizes, kind="stable")[:PER_TAB]],
        "disagreements": [int(place) for place in np.argsort(-spread, kind="stable")[:PER_TAB] if spread[place] > 0],
    }
    return {name: chosen for name, chosen in tabs.items() if chosen}


def take_in_turn(lists: Sequence[Sequence[int]]) -> list[int]:
    """The first of each list, the second of each, and so on, each number once: a beginning of it has something of every
    list."""
    return list(dict.fromkeys(number for row in zip_longest(*lists) for number in row if number is not None))


def _evenly(ranked: Sequence[int]) -> list[int]:
    places = np.linspace(0, len(ranked) - 1, min(PER_TAB, len(ranked))).round().astype(int).tolist()
    return [ranked[place] for place in places]
