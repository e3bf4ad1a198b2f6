"""MaxBoxAccV2, the field's headline number for box data sets.

Idea: an image is right at a score threshold if any predicted box overlaps any true box enough. Count at IoU 30, 50 and
70 percent, take the best threshold of each, average the three.
Paper: "Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets" (Choe et al., TPAMI
2022). Symbols: tau -> threshold, delta -> iou (percent).
Kept from the released code: every contour predicts a box, including those of holes; false boxes are not penalised; each
IoU has its own best threshold, found on the evaluated split itself.
"""

from __future__ import annotations

from typing import Literal

from wsol.metric import BoxAccuracy
from wsol.schema import PluginConfig


class Config(PluginConfig):
    """No settings."""

    name: Literal["max_box_acc_v2"] = "max_box_acc_v2"


class MaxBoxAccV2(BoxAccuracy):
    """Percent of images right, mean over IoU 30, 50, 70; the three under `/iou_*`, their thresholds under
    `/threshold_*`."""

    def headline(self, best: dict[str, float]) -> float:
        return sum(best.values()) / len(best)


def build(config: Config, threshold_step: float) -> MaxBoxAccV2:
    """The metric at zero."""
    return MaxBoxAccV2(config.name, "all", threshold_step)
