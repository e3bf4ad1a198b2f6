"""The seam of metrics. A metric sees images one by one and keeps only sums.

Sums of shards add up to the sums of one pass, exactly, so any number of threads and workers gives the same number:

    part.update(sample) ...          each shard on its own
    total.merge(part.state())        additive, in any order
    total.compute()                  {name: percent}, the headline first
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from wsol.ops.boxes import (
    Contours,
    Floats,
    Ints,
    LevelBoxes,
    best_iou,
    boxes_by_level,
    levels_at,
    resize_boxes,
    threshold_values,
)
from wsol.ops.lazy import lazy
from wsol.types import Annotation


@dataclass(frozen=True, eq=False)
class Sample:
    """One image, ready to be counted. Values that several metrics need are computed once, when first used.

    Attributes:
        score_map: (H, W) float64 in [0, 1], on the evaluation grid.
        annotation: where the object is.
        label: the class in [0, K) whose map this is.
        logits: (K,) float32; None where there is no classifier.
        threshold_step: distance of the score thresholds, in (0, 1).
        shared_boxes: `boxes_by_level(score_map)` if it is known already, as when all images have the same map.

    Raises:
        ValueError: the score map has another rank or type, NaN, or values outside [0, 1].
    """

    score_map: Floats
    annotation: Annotation
    label: int
    logits: np.ndarray | None = None
    threshold_step: float = 0.001
    shared_boxes: LevelBoxes | None = None

    def __post_init__(self) -> None:
        if self.score_map.ndim != 2 or self.score_map.dtype != np.float64:
            raise ValueError(f"a score map is (H, W) float64, got {self.score_map.shape} {self.score_map.dtype}")
        if not (self.score_map.min() >= 0 and self.score_map.max() <= 1):
            raise ValueError("a score map must lie in [0, 1] and have no NaN")

    @lazy
    def level_boxes(self) -> LevelBoxes:
        """The boxes predicted at every level of the score map."""
        return self.shared_boxes or boxes_by_level(self.score_map)

    @lazy
    def grid_boxes(self) -> Ints:
        """The true boxes (n, 4) on the evaluation grid. Raises ValueError if the annotation has none."""
        if len(self.annotation.boxes) == 0:
            raise ValueError("this image has no boxes: box metrics need a data set with boxes")
        height, width = self.score_map.shape
        return resize_boxes(self.annotation.boxes, self.annotation.image_size, (width, height))

    @lazy
    def class_rank(self) -> int | None:
        """The rank of the label among the classes, 0 for the highest logit; None without logits.

        Among equal logits, the lower class comes first, as in arg-max, so that a network with constant logits is not a
        perfect classifier. NaN comes before everything, so that a diverged network is not one either.
        """
        if self.logits is None:
            return None
        before = ~(self.logits <= self.logits[self.label])
        before[: self.label] |= self.logits[: self.label] == self.logits[self.label]
        return int(np.count_nonzero(before))

    def best_iou(self, contours: Contours) -> Floats:
        """Best IoU of a predicted box with a true one at every threshold: (T,) float64, T = ceil(1 /
        threshold_step)."""
        return self.best_iou_at(threshold_values(self.threshold_step), contours)

    def best_iou_at(self, thresholds: Floats, contours: Contours) -> Floats:
        """Best IoU of a predicted box with a true one at T given thresholds in [0, 1), fractions of the map's maximum:
        (T,) float64."""
        per_level = self._best_iou_all if contours == "all" else self._best_iou_largest
        return per_level[levels_at(thresholds, self.level_boxes.peak)]

    @lazy
    def _best_iou_all(self) -> Floats:
        return best_iou(self.level_boxes, self.grid_boxes, "all")

    @lazy
    def _best_iou_largest(self) -> Floats:
        return best_iou(self.level_boxes, self.grid_boxes, "largest")


def classified(sample: Sample) -> np.ndarray:
    """Whether the label is the top-1 class, among the top 5, and always true: bool (3,)."""
    rank = sample.class_rank
    return np.array([rank is not None and rank < 1, rank is not None and rank < 5, True])


class Metric(ABC):
    """A number in percent over a set of images, held as sums.

    The first key of `compute` is the plugin's file name and the metric's headline; the others have a slash.

    Attributes:
        higher_is_better: the direction of the headline.
        by_image: whether it can say what a single image adds, see `wsol/by_image.py`: its numbers are percentages of
            images, or change little with each one.
        contours: which contours predict a box at a score threshold, `all` or only the `largest`.
        sums: everything counted so far; the number of images is one of them.

    Args:
        sums: the metric's sums, int64 or float64, at zero.
    """

    higher_is_better: ClassVar[bool] = True
    by_image: ClassVar[bool] = False
    contours: Contours = "largest"

    def __init__(self, **sums: Tensor) -> None:
        self.sums = {**sums, "images": torch.zeros((), dtype=torch.int64)}

    def update(self, sample: Sample) -> None:
        """Count one image."""
        self._add(sample)
        self.sums["images"] += 1

    def state(self) -> dict[str, Tensor]:
        """A copy of the sums, name -> tensor, of shapes that only the settings decide. States of shards add up to the
        state of one pass."""
        return {name: value.clone() for name, value in self.sums.items()}

    def merge(self, state: dict[str, Tensor]) -> None:
        """Add the state of another instance. Raises ValueError if it counted something else."""
        if {name: value.shape for name, value in state.items()} != {
            name: value.shape for name, value in self.sums.items()
        }:
            raise ValueError("only states of the same metric with the same settings can be merged")
        for name, value in state.items():
            self.sums[name] += value.to(self.sums[name].device)

    def compute(self) -> dict[str, float]:
        """The metric over everything counted, in percent. Raises ValueError before the first image."""
        if not self.sums["images"]:
            raise ValueError(f"{type(self).__module__.rpartition('.')[2]} has counted no image")
        return self._compute()

    def compute_at(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """The metric at score thresholds that were chosen on other images, under keys with `fixed`; empty if it has no
        thresholds.

        The field takes the best threshold on the evaluated images themselves, which is optimistic. This number is not.

        Args:
            chosen: what `compute` returned for the images that chose.
        """
        return {}

    def over_thresholds(self) -> dict[str, Floats]:
        """Curve name -> percent (of right images, or of pixels) at every score threshold (T,) float64; empty if the
        metric has no curve."""
        return {}

    def box_thresholds(self, chosen: Mapping[str, float]) -> dict[str, float | None]:
        """The score thresholds at which boxes are taken in images without annotation, the usual one first; empty if the
        metric has none.

        Args:
            chosen: what `compute` returned for the images that chose.

        Returns:
            key of `compute` -> the threshold at which that number was reached; None if `chosen` does not say.
        """
        return {}

    @abstractmethod
    def _add(self, sample: Sample) -> None:
        """Add one image to the sums, except for the number of images."""

    @abstractmethod
    def _compute(self) -> dict[str, float]:
        """The metric; at least one image was counted."""


class ThresholdCurves(Metric):
    """Base of metrics that count right images at every score threshold and report the best threshold of each curve.

    Args:
        curves: names of the curves.
        threshold_step: distance of the score thresholds, in (0, 1).
    """

    by_image: ClassVar[bool] = True

    def __init__(self, curves: tuple[str, ...], threshold_step: float) -> None:
        self.curves, self.thresholds = curves, threshold_values(threshold_step)
        super().__init__(counts=torch.zeros(len(curves), len(self.thresholds), dtype=torch.int64))

    @abstractmethod
    def right(self, sample: Sample) -> np.ndarray:
        """Whether the image is right, bool (curves, T)."""

    def _add(self, sample: Sample) -> None:
        self.sums["counts"] += torch.from_numpy(self.right(sample))

    def over_thresholds(self) -> dict[str, Floats]:
        percent = self.sums["counts"].cpu().numpy() * 100 / int(self.sums["images"])
        return dict(zip(self.curves, percent, strict=True))

    def best(self) -> dict[str, float]:
        """Curve -> percent of images right at the curve's own best threshold."""
        percent = self.sums["counts"].cpu().numpy().max(1) * 100 / int(self.sums["images"])
        return dict(zip(self.curves, percent.tolist(), strict=True))

    def at(self, thresholds: Mapping[str, float]) -> dict[str, float]:
        """Curve -> percent of images right at a given threshold, for the curves whose threshold is given."""
        counts, images = self.sums["counts"].cpu().numpy(), int(self.sums["images"])
        found = {}
        for row, curve in zip(counts, self.curves, strict=True):
            if curve in thresholds:
                found[curve] = float(row[np.abs(self.thresholds - thresholds[curve]).argmin()]) * 100 / images
        return found

    def best_thresholds(self) -> dict[str, float]:
        """Curve -> its best threshold; among equals, the smallest."""
        indices = self.sums["counts"].cpu().numpy().argmax(1)
        return dict(zip(self.curves, self.thresholds[indices].tolist(), strict=True))


class BoxAccuracy(ThresholdCurves):
    """Base of metrics that only ask whether a predicted box overlaps a true one enough, at IoU 30, 50 and 70 percent.

    Args:
        name: the metric's headline.
        contours: `all` contours predict a box, or only the `largest`.
        threshold_step: distance of the score thresholds, in (0, 1).
    """

    IOU_PERCENT: ClassVar[tuple[int, ...]] = (30, 50, 70)

    def __init__(self, name: str, contours: Contours, threshold_step: float) -> None:
        super().__init__(tuple(str(percent) for percent in self.IOU_PERCENT), threshold_step)
        self.name = name
        self.contours: Contours = contours

    def right(self, sample: Sample) -> np.ndarray:
        """Bool (3, T)."""
        return sample.best_iou(self.contours) >= np.array(self.IOU_PERCENT)[:, None] / 100

    def over_thresholds(self) -> dict[str, Floats]:
        """`<name>/iou_*`."""
        return {f"{self.name}/iou_{iou}": curve for iou, curve in super().over_thresholds().items()}

    def box_thresholds(self, chosen: Mapping[str, float]) -> dict[str, float | None]:
        """The threshold for each IoU; the usual one is that for IoU 50."""
        return {f"{self.name}/iou_{iou}": chosen.get(f"{self.name}/threshold_{iou}") for iou in ("50", "30", "70")}

    @abstractmethod
    def headline(self, best: dict[str, float]) -> float:
        """The headline from the percentages at IoU "30", "50", "70"."""

    def _compute(self) -> dict[str, float]:
        best = self.best()
        values = {f"{self.name}/iou_{iou}": percent for iou, percent in best.items()}
        thresholds = {f"{self.name}/threshold_{iou}": threshold for iou, threshold in self.best_thresholds().items()}
        return {self.name: self.headline(best), **values, **thresholds}

    def compute_at(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """`<name>/fixed` and `<name>/fixed_iou_*`."""
        key = f"{self.name}/threshold_"
        fixed = self.at({iou: chosen[key + iou] for iou in self.curves if key + iou in chosen})
        if len(fixed) < len(self.curves):
            return {}
        return {
            f"{self.name}/fixed": self.headline(fixed),
            **{f"{self.name}/fixed_iou_{iou}": percent for iou, percent in fixed.items()},
        }
