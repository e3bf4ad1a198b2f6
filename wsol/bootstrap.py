"""Bootstrap over images: how much a number would vary if other images of the same kind had been drawn.

In each replicate every image counts as often as a Poisson draw of mean 1 says, instead of drawing as many images as
there are: the two agree for all but the smallest sets, and a replicate of a sum stays a sum ("Estimating Uncertainty
for Massive Data Streams", Chamandy et al., Google 2012). Thresholds are chosen anew in every replicate, as they would
be for other images.

An image's draws depend on its name alone. Two runs scored on the same images are therefore resampled alike, and the
difference of their replicates is the *paired* bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from wsol.data.dataset import seeded_generator
from wsol.metric import Metric
from wsol.ops.boxes import Floats

REPLICATES = 1000
TAILS = (2.5, 97.5)
"""Percentiles of the replicates that bound a 95 % interval."""

IMAGES_AT_ONCE = 64


def draws(image_ids: Sequence[str]) -> Tensor:
    """How often each image counts in each replicate: (REPLICATES, n) float32, whole numbers of mean 1."""
    ones = torch.ones(REPLICATES)
    return torch.stack([torch.poisson(ones, seeded_generator("bootstrap", image_id)) for image_id in image_ids], dim=1)


def interval(replicates: Floats) -> tuple[float, float] | None:
    """The 95 % interval of replicates (R,); those that are not defined are NaN and left out. None without any."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) == 0:
        return None
    low, high = np.percentile(defined, TAILS).tolist()
    return low, high


class Bootstrap:
    """Replicates of the sums of some metrics.

    Sums are float32: counts of images are exact, counts of pixels to seven digits.

    Args:
        metrics: instances whose `compute` is used; what they have counted is ignored.
    """

    def __init__(self, metrics: list[Metric]) -> None:
        self.metrics = metrics
        self.sums = [
            {name: torch.zeros(REPLICATES, value.numel()) for name, value in metric.sums.items()} for metric in metrics
        ]
        self._waiting: list[tuple[str, list[dict[str, Tensor]]]] = []

    def add(self, image_id: str, states: list[dict[str, Tensor]]) -> None:
        """Count one image: the state (see `Metric.state`) of each metric that has seen this image only, in the order of
        `metrics`."""
        self._waiting.append((image_id, states))
        if len(self._waiting) == IMAGES_AT_ONCE:
            self._count()

    def compute(self, chosen: Mapping[str, float]) -> dict[str, Floats]:
        """Metric name -> its replicates (R,) float64, NaN where a replicate does not define it. `chosen`: see
        `Metric.compute_at`."""
        self._count()
        found: dict[str, Floats] = {}
        for metric, sums in zip(self.metrics, self.sums, strict=True):
            each = {
                name: sums[name].view(REPLICATES, *value.shape).to(value.dtype).unbind()
                for name, value in metric.sums.items()
            }
            for replicate in range(REPLICATES):
                metric.sums = {name: values[replicate] for name, values in each.items()}
                try:
                    values = {**metric.compute(), **metric.compute_at(chosen)}
                except ValueError:  # this replicate holds no image, or no object
                    continue
                for name, value in values.items():
                    if name not in found:
                        found[name] = np.full(REPLICATES, np.nan)
                    found[name][replicate] = value
        return found

    def _count(self) -> None:
        if not self._waiting:
            return
        times = draws([image_id for image_id, _ in self._waiting])
        for index, sums in enumerate(self.sums):
            for name, total in sums.items():
                total.addmm_(times, torch.stack([states[index][name].flatten().float() for _, states in self._waiting]))
        self._waiting.clear()
