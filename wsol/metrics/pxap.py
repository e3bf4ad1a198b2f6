"""PxAP, the field's headline number for mask data sets: pixel average precision.

Idea: every pixel is a detection with the map's value as its score. Precision and recall over the pooled pixels of all
images give one curve; the area under it is the metric, so there is no threshold to choose: PxAP = sum over k of P_k
(R_k - R_(k-1)), tau_k falling. Paper: "Evaluating Weakly Supervised Object Localization Methods Right" (Choe et al.,
CVPR 2020). Symbols: tau -> threshold; P, R -> precision, recall.
Kept from the released code: the right-hand rectangle rule without interpolation; scores are not quantised; ignored
pixels are not counted, and where both masks overlap, the pixel belongs to the object.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from wsol.metrics._pixels import OBJECT_ROW, PixelMetric, average_precision, predicted_pixels
from wsol.ops.boxes import Floats, Ints
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["pxap"] = "pxap"


class PxAP(PixelMetric):
    """PxAP in percent."""

    def values(self, counts: Ints) -> dict[str, float]:
        return {self.name: average_precision(counts)}

    def over_thresholds(self) -> dict[str, Floats]:
        """`pxap/precision` and `pxap/recall`, (T,) in percent, of the pixels at or above each score threshold."""
        counts = self.sums["counts"].cpu().numpy()
        right, wrong = predicted_pixels(counts)[:, :-2]
        precision = 100 * right / np.maximum(right + wrong, 1)
        return {
            f"{self.name}/precision": precision,
            f"{self.name}/recall": 100 * right / np.maximum(counts[OBJECT_ROW].sum(), 1),
        }


def build(config: Config, threshold_step: float) -> PxAP:
    """The metric at zero."""
    return PxAP(config.name, threshold_step)
