"""pIoU, the peak intersection over union of the object's pixels.

Idea: predict the pixels whose score is at least tau, pool them over all images, and take the best threshold:
pIoU = max over tau of TP / (TP + FP + FN).
Paper: "Weakly Supervised Object Localization as Domain Adaption" (Zhu et al., CVPR 2022).
Symbols: tau -> threshold.
Kept from the released code: one curve for the whole data set, not a mean over images or classes; only the object
counts, not the background; the threshold is the best one on the evaluated split itself, and 1 is a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from wsol.metrics._pixels import OBJECT_ROW, PixelMetric, predicted_pixels
from wsol.ops.boxes import Floats, Ints
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["piou"] = "piou"


class PIoU(PixelMetric):
    """pIoU in percent; its threshold, the smallest among equals, under `/threshold`."""

    def box_thresholds(self, chosen: Mapping[str, float]) -> dict[str, float | None]:
        """The threshold of the best mask, of which the largest component is boxed."""
        return {self.name: chosen.get(f"{self.name}/threshold")}

    def compute_at(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """`piou/fixed`."""
        threshold = chosen.get(f"{self.name}/threshold")
        if threshold is None:
            return {}
        overlap = overlaps(self.sums["counts"].cpu().numpy())
        return {f"{self.name}/fixed": 100 * float(overlap[np.abs(self.thresholds - threshold).argmin()])}

    def values(self, counts: Ints) -> dict[str, float]:
        overlap = overlaps(counts)
        best = int(overlap.argmax())
        return {self.name: 100 * float(overlap[best]), f"{self.name}/threshold": float(self.thresholds[best])}


def build(config: Config, threshold_step: float) -> PIoU:
    """The metric at zero."""
    return PIoU(config.name, threshold_step)


def overlaps(counts: Ints) -> Floats:
    """TP / (TP + FP + FN) at every threshold, (n,) in [0, 1], from the counts (2, n) of object and background pixels
    per bin."""
    right, wrong = predicted_pixels(counts)
    found: Floats = right / (counts[OBJECT_ROW].sum() + wrong)
    return found
