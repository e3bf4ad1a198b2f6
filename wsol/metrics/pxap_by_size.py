"""PxAP by object size: MaxBoxAcc by size for mask data sets.

Idea: the images are sorted into ten bins by the share of their pixels that belong to the object; every bin gets its own
PxAP, and the bins are averaged.
Paper: "Small object matters in weakly supervised object localization" (Hwang et al., Neurocomputing 2025); PxAP of
"Evaluating Weakly Supervised Object Localization Methods Right" (Choe et al., CVPR 2020).
Symbols: ^S, ^M, ^L, ^mean -> `/small`, `/medium`, `/large`, the headline.
Kept from the released code: the share is taken on the evaluation grid, ignored pixels count as pixels of the image, and
an image is in one bin as a whole.
Not kept: a bin without images ended the run; here it is missing from the report and the mean. An image without object
pixels broke the comparison; here it is in the first bin. Groups and mean are not in the released code; see
`wsol/metrics/_sizes.py`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from wsol.metric import Metric, Sample
from wsol.metrics._pixels import (
    OBJECT,
    OBJECT_ROW,
    average_precision,
    object_mask,
    pixel_counts,
    require_object,
    score_thresholds,
)
from wsol.metrics._sizes import BINS, SizeConfig, size_bins, summary
from wsol.ops.boxes import Ints


class Config(SizeConfig):
    """Settings.

    Attributes:
        small_below: objects below this percentage of the image's area are small.
        large_from: objects from this percentage of the image's area on are large.
    """

    name: Literal["pxap_by_size"] = "pxap_by_size"


class PxAPBySize(Metric):
    """Percent, mean over bins; values of bins without object pixels are missing.

    `/total` is PxAP itself, `/small`, `/medium` and `/large` that of the groups, `/size_*` that of the bins;
    `/images_*` says how many images a bin has.
    """

    def __init__(self, config: Config, threshold_step: float) -> None:
        self.config, self.thresholds = config, score_thresholds(threshold_step)
        super().__init__(
            sizes=torch.zeros(len(BINS), dtype=torch.int64),
            counts=torch.zeros(len(BINS), 2, len(self.thresholds), dtype=torch.int64),
        )

    def _add(self, sample: Sample) -> None:
        counts, mask = pixel_counts(sample, self.thresholds), object_mask(sample)
        row = int(size_bins(np.count_nonzero(mask == OBJECT), mask.size))
        self.sums["counts"][row] += torch.from_numpy(counts)
        self.sums["sizes"][row] += 1

    def _compute(self) -> dict[str, float]:
        name, counts = self.config.name, self.sums["counts"].cpu().numpy()
        require_object(counts.sum(0), name, int(self.sums["images"]))
        bins = _precisions(dict(zip(BINS, counts, strict=True)))
        groups = _precisions({group: counts[part].sum(0) for group, part in self.config.groups().items()})
        images = {
            f"{name}/images_{label}": float(number)
            for label, number in zip(BINS, self.sums["sizes"].tolist(), strict=True)
        }
        return summary(name, average_precision(counts.sum(0)), bins, groups) | images


def build(config: Config, threshold_step: float) -> PxAPBySize:
    """The metric at zero."""
    return PxAPBySize(config, threshold_step)


def _precisions(counts: dict[str, Ints]) -> dict[str, float]:
    """PxAP of each part that has object pixels."""
    return {name: average_precision(part) for name, part in counts.items() if part[OBJECT_ROW].any()}
