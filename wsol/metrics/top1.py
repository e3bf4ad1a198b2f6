"""Classification and localisation together: Top-1 Loc, Top-5 Loc, GT-known Loc, all at IoU 50 percent.

Idea: an image is right if its class is among the top (five) classes *and* the box of that class is right. The map is
always that of the true class, because no other class could be right.
Paper: "ImageNet Large Scale Visual Recognition Challenge" (Russakovsky et al., IJCV 2015); GT-known Loc from "Learning
Deep Features for Discriminative Localization" (Zhou et al., CVPR 2016).
Not kept: the fixed threshold of 20 percent of the maximum, which `fixed_box_acc` has. As in "Evaluating Weakly
Supervised Object Localization Methods Right" (Choe et al., CVPR 2020), each of the three numbers is taken at its own
best threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from wsol.metric import Sample, ThresholdCurves, classified
from wsol.ops.boxes import Contours
from wsol.schema import PluginConfig

MIN_IOU = 0.5


class Config(PluginConfig):
    """Settings.

    Attributes:
        contours: only the `largest` contour predicts a box (as in the papers), or `all`.
    """

    name: Literal["top1"] = "top1"
    contours: Contours = "largest"


class Top1(ThresholdCurves):
    """Percent of images: `top1` = `top1/loc`, `top5/loc`, `gt_known/loc`, and for the classifier alone `top1/cls`,
    `top5/cls`.

    If any image has no logits, only `gt_known/loc` is reported.
    """

    def __init__(self, config: Config, threshold_step: float) -> None:
        super().__init__(("top1/loc", "top5/loc", "gt_known/loc"), threshold_step)
        self.contours: Contours = config.contours
        self.sums["classified"] = torch.zeros(3, dtype=torch.int64)

    def box_thresholds(self, chosen: Mapping[str, float]) -> dict[str, float | None]:
        """The threshold of each of the three numbers."""
        return {curve: chosen.get(f"{curve}_threshold") for curve in self.curves}

    def right(self, sample: Sample) -> np.ndarray:
        """Bool (3, T)."""
        return classified(sample)[:, None] & (sample.best_iou(self.contours) >= MIN_IOU)

    def _add(self, sample: Sample) -> None:
        super()._add(sample)
        self.sums["classified"] += torch.from_numpy(classified(sample) & (sample.class_rank is not None))

    def _compute(self) -> dict[str, float]:
        best, images = self.best(), int(self.sums["images"])
        first, first_five, with_logits = self.sums["classified"].tolist()
        if with_logits < images:
            return {"gt_known/loc": best["gt_known/loc"]}
        thresholds = {f"{curve}_threshold": threshold for curve, threshold in self.best_thresholds().items()}
        return {
            "top1": best["top1/loc"],
            **best,
            "top1/cls": first * 100 / images,
            "top5/cls": first_five * 100 / images,
            **thresholds,
        }

    def compute_at(self, chosen: Mapping[str, float]) -> dict[str, float]:
        """`top1/loc_fixed`, `top5/loc_fixed`, `gt_known/loc_fixed`."""
        thresholds = {curve: chosen[f"{curve}_threshold"] for curve in self.curves if f"{curve}_threshold" in chosen}
        return {f"{curve}_fixed": percent for curve, percent in self.at(thresholds).items()}


def build(config: Config, threshold_step: float) -> Top1:
    """The metric at zero."""
    return Top1(config, threshold_step)
