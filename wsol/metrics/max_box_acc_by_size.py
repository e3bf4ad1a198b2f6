"""MaxBoxAcc by object size: small objects count as much as large ones.

Idea: most objects in a data set are large, and large ones are easy to hit. So the images are sorted into ten bins by
the object's share of the image, the accuracy of every bin is taken at the *one* threshold that is best for all images,
and the bins are averaged. Paper: "Small object matters in weakly supervised object localization" (Hwang et al.,
Neurocomputing 2025). Symbols: MaxBoxAcc^S, ^M, ^L, ^mean -> `/small`, `/medium`, `/large`, the headline; delta -> iou
(percent); k* -> threshold. Kept from the released code: the size of a box is (x1 - x0) (y1 - y0) over the image's area,
in pixels of the original image. By default an image's size is that of the true box with the largest IoU with a
predicted box (the first box if none overlaps), so an image with several true boxes can change its bin with the
threshold.
Not kept: of equally good predictions that match different true boxes, the first in OpenCV's order decided; here the
lowest in the image does, which is the same except for nested contours of coarse maps. A bin that was empty at any
threshold was reported as 0; here it is missing from the report and the mean, and only if it is empty at the best
thresholds. Groups and mean are not in the released code; they are the readings named in `wsol/metrics/_sizes.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from wsol.metric import BoxAccuracy, Metric, Sample
from wsol.metrics._sizes import BINS, SizeConfig, size_bins, summary
from wsol.ops.boxes import Contours, Floats, Ints, LevelBoxes, iou, threshold_levels, threshold_values
from wsol.ops.component_tree import LEVELS


class Config(SizeConfig):
    """Settings.

    Attributes:
        contours: `all` contours predict a box, as in MaxBoxAccV2, or only the `largest`.
        size_of: an image has the size of the `matched` true box, or of the `largest`.
        small_below: objects below this percentage of the image's area are small.
        large_from: objects from this percentage of the image's area on are large.
    """

    name: Literal["max_box_acc_by_size"] = "max_box_acc_by_size"
    contours: Contours = "all"
    size_of: Literal["matched", "largest"] = "matched"


class MaxBoxAccBySize(Metric):
    """Percent of images right, mean over IoU 30, 50, 70 and then over bins; values of bins without images are missing.

    `/total` is the percentage of all images, `/small`, `/medium` and `/large` those of the groups, `/size_*` those of
    the bins; `/images_*` says how many images a bin has (mean over the three thresholds), `/threshold_*` the
    thresholds.
    """

    def __init__(self, config: Config, threshold_step: float) -> None:
        self.config, self.threshold_step = config, threshold_step
        self.contours = config.contours
        bins, thresholds = len(BINS), len(threshold_values(threshold_step))
        super().__init__(
            sizes=torch.zeros(bins, thresholds, dtype=torch.int64),
            counts=torch.zeros(bins, len(BoxAccuracy.IOU_PERCENT), thresholds, dtype=torch.int64),
        )

    def box_thresholds(self, chosen: Mapping[str, float]) -> dict[str, float | None]:
        """The threshold for IoU 50, the one in the middle."""
        return {self.config.name: chosen.get(f"{self.config.name}/threshold_50")}

    def _add(self, sample: Sample) -> None:
        overlap, match = matches(sample.level_boxes, sample.grid_boxes, self.config.contours)
        levels = threshold_levels(self.threshold_step, sample.level_boxes.peak)
        true_bins = _true_bins(sample)
        bins = (
            true_bins[match[levels]]
            if self.config.size_of == "matched"
            else np.broadcast_to(true_bins.max(), levels.shape)
        )
        in_bin = np.arange(len(BINS))[:, None] == bins
        right = overlap[levels] >= np.array(BoxAccuracy.IOU_PERCENT)[:, None] / 100
        self.sums["sizes"] += torch.from_numpy(in_bin)
        self.sums["counts"] += torch.from_numpy(in_bin[:, None] & right)

    def best(self) -> Ints:
        """The indices (3,) of the thresholds that are best for all images, one for each IoU."""
        indices: Ints = self.sums["counts"].cpu().numpy().sum(0).argmax(1)
        return indices

    def at(self, indices: Ints) -> tuple[Ints, Ints]:
        """Images right and all images of every bin, (10, 3) each, at one threshold (3,) for each IoU."""
        return (
            self.sums["counts"].cpu().numpy()[:, np.arange(len(indices)), indices],
            self.sums["sizes"].cpu().numpy()[:, indices],
        )

    def _compute(self) -> dict[str, float]:
        indices = self.best()
        thresholds = zip(BoxAccuracy.IOU_PERCENT, threshold_values(self.threshold_step)[indices].tolist(), strict=True)
        images = self.at(indices)[1].mean(1)
        facts = {f"images_{name}": float(images[part].sum()) for name, part in _bin_rows().items()}
        facts.update({f"threshold_{percent}": threshold for percent, threshold in thresholds})
        return self._values(indices) | {f"{self.config.name}/{key}": value for key, value in facts.items()}

    def compute_at(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """`<name>/fixed` and `<name>/fixed_*`."""
        keys = [f"{self.config.name}/threshold_{percent}" for percent in BoxAccuracy.IOU_PERCENT]
        if any(key not in chosen for key in keys):
            return {}
        thresholds = threshold_values(self.threshold_step)
        values = self._values(np.array([np.abs(thresholds - chosen[key]).argmin() for key in keys]))
        return {
            f"{self.config.name}/fixed" + key.removeprefix(self.config.name).replace("/", "_"): value
            for key, value in values.items()
        }

    def _values(self, indices: Ints) -> dict[str, float]:
        right, images = self.at(indices)
        bins, groups = (
            {
                name: _accuracy(right[part].sum(0), images[part].sum(0))
                for name, part in parts.items()
                if images[part].any()
            }
            for parts in (_bin_rows(), self.config.groups())
        )
        return summary(self.config.name, _accuracy(right.sum(0), images.sum(0)), bins, groups)


def build(config: Config, threshold_step: float) -> MaxBoxAccBySize:
    """The metric at zero."""
    return MaxBoxAccBySize(config, threshold_step)


def matches(level_boxes: LevelBoxes, truth: Ints, contours: Contours) -> tuple[Floats, Ints]:
    """The best IoU of a predicted box with a true one (n, 4), and the row of that true box (the first among equals),
    per level: (255,) each."""
    boxes = level_boxes.largest if contours == "largest" else level_boxes.all[:, 2:]
    overlaps = iou(boxes, truth)
    best, match = overlaps.max(1), overlaps.argmax(1)
    winners = np.arange(LEVELS) if contours == "largest" else _winners(level_boxes.all, best)
    return best[winners], match[winners]


def _winners(boxes: Ints, overlap: Floats) -> Ints:
    """The row with the largest IoU, per level (255,); among equals the lowest box, then the rightmost."""
    order = np.lexsort((boxes[:, 2], boxes[:, 3], overlap))[::-1]
    first, last = boxes[order, 0, None], boxes[order, 1, None]
    covers = (first <= np.arange(LEVELS)) & (np.arange(LEVELS) <= last)
    winners: Ints = order[covers.argmax(0)]
    return winners


def _true_bins(sample: Sample) -> Ints:
    """The bin (n,) of every true box."""
    width, height = sample.annotation.image_size
    boxes = np.asarray(sample.annotation.boxes, np.int64)
    return size_bins((boxes[:, 2:] - boxes[:, :2]).prod(1), width * height)


def _bin_rows() -> dict[str, slice]:
    """Bin -> its row."""
    return {name: slice(row, row + 1) for row, name in enumerate(BINS)}


def _accuracy(right: Ints, images: Ints) -> float:
    """Percent right, mean over those IoUs (3,) at whose threshold there are images."""
    seen = images > 0
    return 100 * float((right[seen] / images[seen]).mean())
