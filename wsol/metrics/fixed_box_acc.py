"""Localization at a given score threshold: GT-known, Top-1 and Top-5 Loc as classical papers report them.

Idea: the box of the largest component above a fixed fraction of the map's maximum is right if its IoU with any true box
is at least one half. Nothing is chosen on the evaluated images.
Paper: "Learning Deep Features for Discriminative Localization" (Zhou et al., CVPR 2016): 20 percent of the maximum, the
largest component; "Rethinking Class Activation Mapping for Weakly Supervised Object Localization" (Bae et al., ECCV
2020), whose released code calls the fraction `loc_threshold`: 0.2, and 0.35 together with `pas` at its percentile 90.
Symbols: loc_threshold -> thresholds; iou_threshold -> iou.
Kept from the released code: the threshold is a fraction of the largest 8-bit value, truncated, and the object is
everything strictly above it; largest means polygon area.
Not kept: boxes and overlap are those of the other box metrics, and whole images are used. The released code takes
centre crops of enlarged ones, so its published numbers are on other images; it predicts the whole image where there is
no contour, and gives two boxes that are apart in both directions an overlap, of 57 % if they are 20 pixels wide and 17
apart. The fraction refers to the map as the normalizer returns it: to the map's own maximum with `max`, to the range
above its minimum with `min_max`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from wsol.metric import Metric, Sample, classified
from wsol.ops.boxes import Contours, Floats
from wsol.schema import PluginConfig

GUESSES = ("top1", "top5", "gt_known")
"""What must be right besides the box, in the order of `classified`."""


class Config(PluginConfig):
    """Settings.

    Attributes:
        thresholds: fractions of the map's maximum; the first one is the headline's.
        iou: least IoU of a right box with a true one, in [0, 1].
        contours: only the `largest` contour predicts a box (as in the papers), or `all`.
    """

    name: Literal["fixed_box_acc"] = "fixed_box_acc"
    thresholds: list[Annotated[float, Field(ge=0, lt=1)]] = Field(default=[0.2], min_length=1)
    iou: float = Field(default=0.5, gt=0, le=1)
    contours: Contours = "largest"

    @field_validator("thresholds")
    @classmethod
    def _differ(cls, thresholds: list[float]) -> list[float]:
        if len({_percent(threshold) for threshold in thresholds}) < len(thresholds):
            raise ValueError(f"{thresholds} names a threshold twice")
        return thresholds


class FixedBoxAcc(Metric):
    """Percent of images right: GT-known at the first threshold; at every threshold `/gt_known_*`, `/top1_*` and
    `/top5_*`, the threshold in percent.

    If any image has no logits, only GT-known is reported.
    """

    by_image: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        self.config, self.contours = config, config.contours
        super().__init__(
            counts=torch.zeros(len(GUESSES), len(config.thresholds), dtype=torch.int64),
            with_logits=torch.zeros((), dtype=torch.int64),
        )

    def right(self, sample: Sample) -> np.ndarray:
        """Whether the image is right by each of `GUESSES` at each threshold, bool (3, thresholds)."""
        overlaps: Floats = sample.best_iou_at(np.array(self.config.thresholds), self.config.contours)
        return classified(sample)[:, None] & (overlaps >= self.config.iou)

    def box_thresholds(self, chosen: Mapping[str, float]) -> dict[str, float | None]:
        """The fixed thresholds."""
        return {f"{self.config.name}/gt_known_{_percent(fixed)}": fixed for fixed in self.config.thresholds}

    def _add(self, sample: Sample) -> None:
        self.sums["counts"] += torch.from_numpy(self.right(sample))
        self.sums["with_logits"] += int(sample.class_rank is not None)

    def _compute(self) -> dict[str, float]:
        name, images = self.config.name, int(self.sums["images"])
        percent = dict(zip(GUESSES, (self.sums["counts"].cpu().numpy() * 100 / images).tolist(), strict=True))
        if int(self.sums["with_logits"]) < images:
            percent = {"gt_known": percent["gt_known"]}
        return {
            name: percent["gt_known"][0],
            **{
                f"{name}/{guess}_{_percent(threshold)}": value
                for guess in sorted(percent)
                for threshold, value in zip(self.config.thresholds, percent[guess], strict=True)
            },
        }


def build(config: Config, threshold_step: float) -> FixedBoxAcc:
    """The metric at zero; it has its own thresholds."""
    return FixedBoxAcc(config)


def _percent(threshold: float) -> str:
    """`20` for 0.2, `12.5` for 0.125."""
    return f"{100 * threshold:g}"
