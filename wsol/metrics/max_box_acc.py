"""MaxBoxAcc, the first version of the field's number: GT-known Loc at its best threshold.

Idea: an image is right at a score threshold if the box of the largest contour has an IoU of at least one half with any
true box; take the best threshold. Paper: "Evaluating Weakly Supervised Object Localization Methods Right" (Choe et al.,
CVPR 2020).
Symbols: tau -> threshold, delta -> iou (percent).
Kept from the released code: largest means polygon area; of equal contours, the one found last in the raster scan is
taken.
"""

from __future__ import annotations

from typing import Literal

from wsol.metric import BoxAccuracy
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["max_box_acc"] = "max_box_acc"


class MaxBoxAcc(BoxAccuracy):
    """Percent of images right at IoU 50; IoU 30, 50, 70 under `/iou_*`, their thresholds under `/threshold_*`."""

    def headline(self, best: dict[str, float]) -> float:
        return best["50"]


def build(config: Config, threshold_step: float) -> MaxBoxAcc:
    """The metric at zero."""
    return MaxBoxAcc(config.name, "largest", threshold_step)
