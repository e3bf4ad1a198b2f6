"""Images as a view sees them: the score map, the predicted region, and its IoU with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.data.images import ImageStore
    from wsol.method import Method
    from wsol.metric import Sample


THRESHOLDS = ("max_box_acc_v2/threshold_50", "max_box_acc/threshold_50", "gt_known/loc_threshold", "piou/threshold")
"""The metrics that choose a score threshold for one region; the first one that a run has counts."""


@dataclass(frozen=True, slots=True)
class View:
    """A method with its evaluation settings: one column of the grid of pictures.

    Attributes:
        label: the title of the column.
        method: the trained method, on the device.
        config: the run's configuration, for its evaluation settings.
        metrics: its metrics on train_fullsup, which choose the score threshold of the regions.
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
    """One image in one view.

    Attributes:
        score_map: (S, S) uint8, the scores times 255.
        region: the predicted region: a box (4,), or a mask (S, S) bool if the data set has no boxes.
        truth: the ground truth: boxes (n, 4), or a mask (S, S) bool.
        iou: IoU of the predicted and the true region, in [0, 1].
        size: area of the largest true box, or of the mask, in percent of the image.
    """

    score_map: np.ndarray
    region: np.ndarray
    truth: np.ndarray
    iou: float
    size: float


def threshold_of(metrics: Mapping[str, float]) -> float | None:
    """The score threshold that some metrics chose on train_fullsup; None if they choose none."""
    return next((metrics[name] for name in THRESHOLDS if name in metrics), None)


def look_at(view: View, images: ImageStore) -> list[Look]:
    """Look at every image of a split in a view."""
    from wsol.evaluation import localize

    threshold = view.threshold or 0.0
    return [_look(sample, threshold) for sample in localize(view.method, images, view.config.evaluation)]


def _look(sample: Sample, threshold: float) -> Look:
    from wsol.ops.boxes import iou

    score_map, mask = (sample.score_map * 255).astype(np.uint8), sample.annotation.mask
    if mask is None or len(sample.annotation.boxes):
        box, boxes = sample.level_boxes.largest[int(threshold * sample.level_boxes.peak)], sample.grid_boxes
        share = int((boxes[:, 2:] - boxes[:, :2] + 1).prod(1).max()) / score_map.size
        return Look(score_map, box, boxes, float(iou(box[None], boxes).max()), 100 * share)
    truth = mask == 1
    region = (sample.score_map >= threshold) & (mask != 255)
    overlap = int(np.count_nonzero(region & truth)) / max(int(np.count_nonzero(region | truth)), 1)
    return Look(score_map, region, truth, overlap, 100 * float(truth.mean()))
