"""Shared by the metrics over masks: pixels counted by their score.

Pixels of all images are pooled, so every curve is one curve of the whole data set. The thresholds are those of the box
metrics, then 1 and 2. Bin k holds scores in [threshold k, threshold k + 1), so the score 1 has a bin of its own; the
last bin is always empty, which starts every curve with no pixel predicted. ("Evaluating Weakly Supervised Object
Localization Methods Right", Choe et al., CVPR 2020.)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch

from wsol.errors import InputError
from wsol.metric import Metric, Sample
from wsol.ops.boxes import Floats, Ints, threshold_values

OBJECT, BACKGROUND = 1, 0
"""The values in a mask."""

OBJECT_ROW = 0
"""The row of counts (2, n) for the object; the other row counts the background."""


def score_thresholds(step: float) -> Floats:
    """The thresholds (T + 2,), T = ceil(1 / step): 0, step, 2 step, ... < 1, then 1 and 2."""
    return np.append(threshold_values(step), (1.0, 2.0))


def object_mask(sample: Sample) -> np.ndarray:
    """The mask of an image, (H, W) uint8. Raises ValueError if there is none in the size of the score map."""
    mask = sample.annotation.mask
    if mask is None:
        raise ValueError("this image has no mask: pixel metrics need a data set with masks")
    if mask.shape != sample.score_map.shape:
        raise ValueError(f"the mask has {mask.shape} pixels, the score map {sample.score_map.shape}")
    return mask


def pixel_counts(sample: Sample, thresholds: Floats) -> Ints:
    """How many pixels of the object and of the background, (2, len(thresholds)) int64, have a score in each bin.
    Ignored pixels are not counted.

    Raises:
        ValueError: the image has no mask of the score map's size.
    """
    mask = object_mask(sample)
    # A search among the thresholds themselves: s / step, truncated, puts some scores that equal a threshold into the
    # bin below.
    bins = np.searchsorted(thresholds, sample.score_map, side="right") - 1
    return np.stack([np.bincount(bins[mask == value], minlength=len(thresholds)) for value in (OBJECT, BACKGROUND)])


def predicted_pixels(counts: Ints) -> Ints:
    """How many pixels of the object and of the background, (2, n), have a score at or above each threshold, from their
    counts (2, n) per bin."""
    predicted: Ints = counts[:, ::-1].cumsum(1)[:, ::-1]
    return predicted


def average_precision(counts: Ints) -> float:
    """Percent: the sum over bins of precision at the bin's threshold times the recall that the bin adds.

    Args:
        counts: (2, n) of object and background pixels per bin; there are object pixels.
    """
    right, wrong = predicted_pixels(counts)
    precision = right / np.maximum(right + wrong, 1)
    return 100 * float(precision @ counts[OBJECT_ROW]) / int(counts[OBJECT_ROW].sum())


def require_object(counts: Ints, name: str, images: int) -> None:
    """Raise InputError if all masks together, counted as (2, n) per bin, have no object pixel; `name` and `images` are
    for its message."""
    if not counts[OBJECT_ROW].any():
        raise InputError(
            f"{name} is not defined: none of the {images} masks has a pixel of an object; `data check` names the files"
        )


class PixelMetric(Metric):
    """Base of metrics that are functions of how many object and background pixels have a score in each bin.

    Args:
        name: the metric's headline.
        threshold_step: distance of the score thresholds, in (0, 1).
    """

    by_image: ClassVar[bool] = True

    def __init__(self, name: str, threshold_step: float) -> None:
        self.name, self.thresholds = name, score_thresholds(threshold_step)
        super().__init__(counts=torch.zeros(2, len(self.thresholds), dtype=torch.int64))

    def _add(self, sample: Sample) -> None:
        self.sums["counts"] += torch.from_numpy(pixel_counts(sample, self.thresholds))

    def _compute(self) -> dict[str, float]:
        counts = self.sums["counts"].cpu().numpy()
        require_object(counts, self.name, int(self.sums["images"]))
        return self.values(counts)

    @abstractmethod
    def values(self, counts: Ints) -> dict[str, float]:
        """The metric from the counts (2, T + 2) of object and background pixels; there are object pixels."""
