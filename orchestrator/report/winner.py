"""The part of the report about the winner: its metrics, how certain its first place is, objects by size, post-hoc
settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from orchestrator.formats import metric_label, printed_columns, settings_in_words
from orchestrator.pictures.choice import HIT
from orchestrator.report.figures_winner import Curve, SizeBar
from orchestrator.report.lists import ShownSetting
from orchestrator.runs import names
from orchestrator.runs.result import ConfirmedTrial, mean_optimism
from orchestrator.runs.scores import Stored
from orchestrator.runs.summary import Summary, TrialRow

NOT_POINTS = ("threshold", "count", "loss", "constant", "degenerate", "images_")


DETAILS = ("threshold", "/size_", "/images_", "fixed_", "_fixed", "degenerate", "loss")


SIZE_METRICS = ("max_box_acc_by_size", "pxap_by_size")


SIZE_EDGES = (4, 36)
"""Areas, in percent of the image, from which objects count as medium and as large, unless the metric says otherwise;
the same as in `wsol/metrics/_sizes.py`."""


CURVE_POINTS = 100


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric on one split. `difference` is in points, None if there is nothing to subtract; `interval` is the 95 %
    interval over images."""

    key: str
    value: float
    baseline: float | None
    difference: float | None
    interval: tuple[float, float] | None = None

    @property
    def is_detail(self) -> bool:
        """Whether the metric is a score threshold, or one bin of many."""
        return any(word in self.key for word in DETAILS)


@dataclass(frozen=True, slots=True)
class SplitLines:
    """All metrics of the winner on one split; `main` is the objective's line."""

    name: str
    lines: list[MetricLine]
    main: MetricLine | None


@dataclass(frozen=True, slots=True)
class Stability:
    """How certain it is that the winner is first.

    Attributes:
        shares: trial -> the share of bootstrap draws of the images in which it is first; empty if that was not
            measured.
        leads: in how many of the last `epochs` epochs the winner was ahead of all complete trials.
        epochs: a third of the winner's epochs, the last ones, at least three; 0 if there is no other trial.
        level: number of complete trials whose value lies inside the winner's 95 % interval; None if that interval does
            not belong to the winner as trained.
    """

    shares: dict[str, float]
    leads: int
    epochs: int
    level: int | None


def split_lines(summary: Summary, name: str) -> SplitLines:
    """All metrics of the winner on a split beside those of the baseline, the objective first."""
    metric = summary.metric
    values, baseline, intervals = summary.metrics(name), summary.metrics(name, baseline=True), summary.intervals(name)
    keys = sorted(values, key=lambda key: ("threshold" in key, not key.startswith(metric), key.count("/") > 0, key))
    first = {metric_label(key): key for key in reversed(keys)}  # top1 and top1/loc are one number
    lines = [
        _line(key, values[key], baseline.get(key), intervals.get(key))
        for key in keys
        if first[metric_label(key)] == key
    ]
    return SplitLines(name, lines, next((line for line in lines if line.key == metric), None))


def _line(key: str, value: float, baseline: float | None, interval: tuple[float, float] | None) -> MetricLine:
    in_points = not any(word in key for word in NOT_POINTS)
    return MetricLine(
        key,
        value,
        baseline,
        value - baseline if in_points and baseline is not None else None,
        interval if in_points else None,
    )


def stability(summary: Summary) -> Stability | None:
    """How certain it is that the winner is first, from the run's records; None without another complete trial."""
    winner = summary.best
    others = [
        trial
        for trial in summary.trials
        if trial.state == "complete" and winner and trial.number != winner.number and trial.value is not None
    ]
    if winner is None or not others:
        return None
    epochs = sorted(winner.curve)[-max(3, len(winner.curve) // 3) :]
    leads = sum(_leads(winner, others, epoch, summary.maximize) for epoch in epochs)
    metric = summary.metric
    interval = summary.intervals("train_fullsup").get(metric)
    as_trained = summary.value == summary.metrics("train_fullsup").get(metric)
    level = (
        None
        if interval is None or not as_trained
        else sum(interval[0] <= (trial.value or 0.0) <= interval[1] for trial in others)
    )
    return Stability(
        {str(name): float(share) for name, share in (summary.result.get("first") or {}).items()},
        leads,
        len(epochs),
        level,
    )


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the best trials reached with other seeds than the one that selected them.

    Attributes:
        seeds: all seeds, in order.
        trials: the trials, in the order in which they were selected.
        too_high: by how many points they were selected too high, on average.
    """

    seeds: list[int]
    trials: list[ConfirmedTrial]
    too_high: float


def confirmation(summary: Summary, notes: list[str]) -> Confirmation | None:
    """What confirmed the winner; None if nothing did, or it is damaged, which is noted."""
    try:
        trials = TypeAdapter(list[ConfirmedTrial]).validate_python(summary.result.get("confirmed") or [])
    except ValidationError:
        notes.append(f"{names.WINNER_RESULT}: its entry confirmed is damaged and is left out.")
        return None
    if not any(one.seeds for one in trials):
        return None
    return Confirmation(sorted({seed for one in trials for seed in one.seeds}), trials, mean_optimism(trials))


def _leads(winner: TrialRow, others: Sequence[TrialRow], epoch: int, maximize: bool) -> bool:
    sign = 1 if maximize else -1
    return all(sign * winner.curve[epoch] >= sign * trial.curve.get(epoch, -sign * math.inf) for trial in others)


class SettingRow(NamedTuple):
    """A post-hoc setting in words, whether it is the one in use, and its number in each column."""

    words: str
    is_used: bool
    numbers: list[float | None]


def setting_rows(summary: Summary, settings: Sequence[ShownSetting]) -> tuple[list[str], list[SettingRow]]:
    """The metrics of the columns, and a row for each post-hoc setting, the best first."""
    if not settings:
        return [], []
    metric = summary.metric
    now = summary.metrics("train_fullsup").get(metric)
    used = next((setting for setting in settings if setting.metrics[metric] == now), None)
    columns = printed_columns(metric, settings[0].metrics)
    return columns, [
        SettingRow(settings_in_words(one.values), one is used, [one.metrics.get(name) for name in columns])
        for one in sorted(settings, key=lambda setting: -setting.metrics[metric])
    ]


def threshold_curves(summary: Summary, scored: Mapping[str, Stored]) -> dict[str, dict[str, Curve]]:
    """Split -> curve of the objective's metric -> score thresholds and percent of images right."""
    metric = summary.metric
    return {
        split: {
            name: (_thin(np.arange(len(curve)) * stored.threshold_step, 4), _thin(curve, 3))
            for name, curve in stored.curves.items()
            if name.startswith(metric) and "/iou_" in name
        }
        for split, stored in scored.items()
    }


def pixel_curves(scored: Mapping[str, Stored]) -> dict[str, Curve]:
    """Split -> recall and precision of all pixels in percent; empty for data sets with boxes."""
    return {
        split: (_thin(stored.curves["pxap/recall"], 3), _thin(stored.curves["pxap/precision"], 3))
        for split, stored in scored.items()
        if {"pxap/recall", "pxap/precision"} <= stored.curves.keys()
    }


def _thin(values: np.ndarray, digits: int) -> list[float]:
    kept: list[float] = values[:: max(1, len(values) // CURVE_POINTS)].round(digits).tolist()
    return kept


def size_bars(summary: Summary, overlaps: Sequence[tuple[float, float]]) -> tuple[dict[str, list[SizeBar]], str]:
    """Split -> bars of small, medium and large objects, with a caption. They show the metric by size if the run has it;
    else they count `overlaps`, the size and IoU of the images considered for the pictures."""
    for name in SIZE_METRICS:
        splits = {split: _metric_bars(summary, split, name) for split in ("train_fullsup", "test")}
        if any(splits.values()):
            return splits, f"{metric_label(name)}, with 95 % intervals over images. Sizes in percent of the image."
    bars = _counted_bars(overlaps)
    shown = (
        "Images right at IoU 50 % and the threshold that train_fullsup chose, of those looked at for the pictures; 95 %"
        " intervals (Wilson)."
    )
    return {
        "train_fullsup": bars
    }, f"{shown} For all images, add max_box_acc_by_size or pxap_by_size to evaluation.metrics."


def _metric_bars(summary: Summary, split: str, name: str) -> list[SizeBar]:
    values, intervals = summary.metrics(split), summary.intervals(split)
    settings = (summary.result.get("config") or {}).get("evaluation", {}).get("metrics", [])
    own: Mapping[str, Any] = next((metric for metric in settings if metric.get("name") == name), {})
    edges = own.get("small_below", SIZE_EDGES[0]), own.get("large_from", SIZE_EDGES[1])
    keys = [(group, f"{name}/{group}") for group in ("small", "medium", "large")]
    return [
        SizeBar(_size_name(group, edges), values[key], intervals.get(key), None) for group, key in keys if key in values
    ]


def _size_name(group: str, edges: tuple[float, float]) -> str:
    ranges = {"small": f"below {edges[0]} %", "medium": f"{edges[0]} to {edges[1]} %", "large": f"from {edges[1]} %"}
    return f"{group}<br>{ranges[group]}"


def _counted_bars(overlaps: Sequence[tuple[float, float]]) -> list[SizeBar]:
    """Count how many images of each size are right."""
    bounds = {"small": (-1.0, SIZE_EDGES[0]), "medium": SIZE_EDGES, "large": (SIZE_EDGES[1], math.inf)}
    bars = []
    for group, (low, high) in bounds.items():
        ious = [iou for size, iou in overlaps if low <= size < high]
        right = sum(iou >= HIT for iou in ious)
        if ious:
            bars.append(
                SizeBar(_size_name(group, SIZE_EDGES), 100 * right / len(ious), _wilson(right, len(ious)), len(ious))
            )
    return bars


def _wilson(right: int, images: int) -> tuple[float, float]:
    """95 % interval of a share, in percent."""
    z, share = 1.96, right / images
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images)) / (1 + z * z / images)
    return 100 * (middle - half), 100 * (middle + half)
