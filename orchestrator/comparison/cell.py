"""One number of a comparison: its intervals over images and seeds, its paired difference from the first row, and the
published number."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.comparison.published import Published

if TYPE_CHECKING:
    from wsol.ops.boxes import Floats

Interval = tuple[float, float]
Measurement = tuple[float, "Floats"]
"""A number in percent, and its bootstrap replicates (R,)."""
STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
)
"""97.5 % quantiles of Student's t with 1, 2, ... degrees of freedom."""


FEWEST_SEEDS = 3
"""From this number of seeds on, an interval over seeds is shown; with fewer seeds, their values."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row on one metric, in percent.

    Attributes:
        value: the metric's value; the mean where there are several seeds.
        interval: 95 % interval of the value over images; None where it is not defined.
        difference: points above the first row; None for the first row itself.
        difference_interval: its 95 % interval over images by the paired bootstrap; None without a difference, or where
            it is not defined.
        baseline: the centre Gaussian on the same images; None where unknown.
        seed_interval: 95 % interval of the mean over seeds (Student's t); None with fewer than three seeds, where it
            would say nothing.
        published: the number that a paper reports; None if none is known, and on train_fullsup.
        of_seeds: the value of each seed.
    """

    value: float
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    baseline: float | None
    seed_interval: Interval | None = None
    published: Published | None = None
    of_seeds: tuple[float, ...] = ()

    @property
    def is_different(self) -> bool:
        """Whether the interval of the difference excludes zero."""
        return (
            self.difference_interval is not None and not self.difference_interval[0] <= 0 <= self.difference_interval[1]
        )

    @property
    def is_reproduced(self) -> bool | None:
        """Whether the published number lies inside one of the intervals, or below them, or below the value of a seed;
        None without a published number."""
        ends = (bounds[1] for bounds in (self.interval, self.seed_interval) if bounds)
        highest = max([self.value, *self.of_seeds, *ends])
        return None if self.published is None else self.published.value <= highest


def cell(
    metric: str,
    seeds: Sequence[Measurement],
    first: Sequence[Measurement] | None,
    baseline: float | None = None,
    published: Published | None = None,
) -> Cell:
    """One row on one metric.

    Args:
        metric: the metric's key.
        seeds: for each seed, the value and its replicates. The same images are drawn in all of them, so that
            differences are paired.
        first: the same for the first row; None: this is the first row.
        baseline: the centre Gaussian on the same images.
        published: the number that a paper reports.
    """
    from wsol.bootstrap import interval

    values, replicates = [value for value, _ in seeds], _mean_replicates(seeds)
    mean = statistics.fmean(values)
    return Cell(
        value=mean,
        interval=interval(replicates),
        difference=None if first is None else mean - statistics.fmean(value for value, _ in first),
        difference_interval=None if first is None else interval(replicates - _mean_replicates(first)),
        baseline=baseline,
        seed_interval=interval_of_mean(values, math.inf if "loss" in metric else 100),
        published=published,
        of_seeds=tuple(values),
    )


def _mean_replicates(seeds: Sequence[Measurement]) -> Floats:
    """The replicates (R,) of the mean over seeds."""
    return np.asarray(np.mean([replicates for _, replicates in seeds], axis=0))


def interval_of_mean(values: Sequence[float], largest: float = 100) -> Interval | None:
    """95 % interval of the mean of some values (Student's t), clipped to the range of the metric.

    Args:
        values: the values, not below 0; in percent, unless `largest` says otherwise.
        largest: the largest value that the metric can have.

    Returns:
        The interval; None with fewer than three values, because that of two is 13 times as wide as their distance.
    """
    if len(values) < FEWEST_SEEDS:
        return None
    quantile = STUDENT[min(len(values) - 1, len(STUDENT)) - 1]
    half, mean = quantile * statistics.stdev(values) / len(values) ** 0.5, statistics.fmean(values)
    return max(mean - half, 0.0), min(mean + half, largest)
