"""PxAP, the field's headline number for mask data sets: pixel average precision.

Idea: every pixel is a detection with the map's value as its score. Precision and recall over the pooled pixels of all images give one
curve; the area under it is the metric, so there is no threshold to choose: PxAP = sum over k of P_k (R_k - R_(k-1)), tau_k falling.
Paper: "Evaluating Weakly Supervised Object Localization Methods Right" (Choe et al., CVPR 2020).
Symbols: tau -> threshold; P, R -> precision, recall.
Kept from the released code: the right-hand rectangle rule without interpolation; scores are not quantised; ignored pixels count nowhere,
and the object wins where both masks overlap.
"""

from __future__ import annotations

from typing import Literal

from wsol.config import PluginConfig
from wsol.metrics._pixels import PixelMetric, average_precision
from wsol.ops.boxes import Ints


class Config(PluginConfig):
    """No settings."""

    name: Literal["pxap"] = "pxap"


class PxAP(PixelMetric):
    """Percent."""

    def values(self, counts: Ints) -> dict[str, float]:
        return {self.name: average_precision(counts)}


def build(config: Config, threshold_step: float) -> PxAP:
    """The metric at zero."""
    return PxAP(config.name, threshold_step)
