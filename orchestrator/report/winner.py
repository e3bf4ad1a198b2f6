"""What the report says about the winner: its metrics, how surely it is first, objects by size, post-hoc settings."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.formats import metric_label as named
from orchestrator.formats import printed_columns
from orchestrator.formats import settings_in_words as in_words
from orchestrator.pictures.looks import HIT
from orchestrator.report.figures_winner import Curve, SizeBar
from orchestrator.runs import names
from orchestrator.runs.scores import Stored, read_scores
from orchestrator.runs.summary import Summary, TrialRow
from wsol.errors import InputError

NOT_POINTS = ("threshold", "count", "loss", "constant", "degenerate", "images_")


DETAILS = ("threshold", "/size_", "/images_", "fixed_", "_fixed", "degenerate", "loss")


SIZE_METRICS = ("max_box_acc_by_size", "pxap_by_size")


SIZE_EDGES = (4, 36)
"""Percent of the image where medium and large objects begin, unless the metric says otherwise: as in
`wsol/metrics/_sizes.py`."""


CURVE_POINTS = 100


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric of one split; `difference` is in points, None where there is nothing to subtract; `interval`: 95 %,
    over images."""

    key: str
    value: float
    baseline: float | None
    difference: float | None
    interval: tuple[float, float] | None = None

    @property
    def is_detail(self) -> bool:
        """Whether it says where maps were cut, or is one bin of many."""
        return any(word in self.key for word in DETAILS)


@dataclass(frozen=True, slots=True)
class SplitLines:
    """What is known about the winner on one split; `main` is the objective's line."""

    name: str
    lines: list[MetricLine]
    main: MetricLine | None


@dataclass(frozen=True, slots=True)
class Stability:
    """How surely the winner is first.

    Attributes:
        shares: trial -> in which share of the bootstrap draws of the images it is first; empty where that was not
            measured.
        leads: in how many of the last `epochs` epochs the winner was ahead of all complete trials.
        epochs: the last third of the winner's epochs, at least three; 0 where there is nobody to compare with.
        level: complete trials whose value lies inside the winner's 95 % interval; None where that is not of the winner
            as it was trained.
    """

    shares: dict[str, float]
    leads: int
    epochs: int
    level: int | None


def split_lines(summary: Summary, name: str) -> SplitLines:
    """All metrics of the winner on a split beside those of the baseline, the objective first."""
    metric = summary.objective.partition("/")[2]
    values, baseline, intervals = summary.metrics(name), summary.metrics(name, baseline=True), summary.intervals(name)
    keys = sorted(values, key=lambda key: ("threshold" in key, not key.startswith(metric), key.count("/") > 0, key))
    first = {named(key): key for key in reversed(keys)}  # top1 and top1/loc are one number
    lines = [_line(key, values[key], baseline.get(key), intervals.get(key)) for key in keys if first[named(key)] == key]
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
    """How surely the winner is first, from what the run recorded; None without another complete trial."""
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
    metric = summary.objective.partition("/")[2]
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


def _leads(winner: TrialRow, others: Sequence[TrialRow], epoch: int, maximize: bool) -> bool:
    sign = 1 if maximize else -1
    return all(sign * winner.curve[epoch] >= sign * trial.curve.get(epoch, -sign * math.inf) for trial in others)


def setting_rows(summary: Summary) -> tuple[list[str], list[tuple[str, bool, list[float | None]]]]:
    """Post-hoc settings, the best first: the metrics of the columns; and of each setting its words, whether it is used,
    its numbers."""
    metric = summary.objective.partition("/")[2]
    settings = _recorded_settings(summary.folder / names.POST_HOC) or [
        {"values": setting["values"], "metrics": {metric: setting["value"]}}
        for setting in summary.result.get("post_hoc") or []
    ]
    if not settings:
        return [], []
    now = summary.metrics("train_fullsup").get(metric)
    used = next((setting for setting in settings if setting["metrics"][metric] == now), None)
    columns = printed_columns(metric, settings[0]["metrics"])
    ranked = sorted(settings, key=lambda setting: -setting["metrics"][metric])
    return columns, [
        (in_words(one["values"]), one is used, [one["metrics"].get(name) for name in columns]) for one in ranked
    ]


def _recorded_settings(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text()))
    except (OSError, ValueError):
        return []


def threshold_curves(summary: Summary) -> dict[str, dict[str, Curve]]:
    """Split -> curve of the objective's metric -> score thresholds and percent of images right."""
    return {
        split: {
            name: (_thin(np.arange(len(curve)) * stored.threshold_step, 4), _thin(curve, 3))
            for name, curve in stored.curves.items()
            if name.startswith(summary.objective.partition("/")[2]) and "/iou_" in name
        }
        for split, stored in _stored(summary)
    }


def pixel_curves(summary: Summary) -> dict[str, Curve]:
    """Split -> recall and precision of all pixels in percent; empty for data sets with boxes."""
    return {
        split: (_thin(stored.curves["pxap/recall"], 3), _thin(stored.curves["pxap/precision"], 3))
        for split, stored in _stored(summary)
        if "pxap/recall" in stored.curves
    }


def _stored(summary: Summary) -> Iterator[tuple[str, Stored]]:
    for split in ("train_fullsup", "test"):
        try:
            yield split, read_scores(summary.folder / names.WINNER, split)
        except InputError:  # not scored yet
            continue


def _thin(values: np.ndarray, digits: int) -> list[float]:
    kept: list[float] = values[:: max(1, len(values) // CURVE_POINTS)].round(digits).tolist()
    return kept


def size_bars(summary: Summary) -> tuple[dict[str, list[SizeBar]], str]:
    """Split -> small, medium and large objects, with what is counted: the metric by size where the run has it, else the
    images of the pictures."""
    for name in SIZE_METRICS:
        splits = {split: _metric_bars(summary, split, name) for split in ("train_fullsup", "test")}
        if any(splits.values()):
            return splits, f"{named(name)}, with 95 % intervals over images. Sizes in percent of the image."
    bars = _counted_bars(summary.folder / names.IMAGES_TABLE)
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


def _counted_bars(path: Path) -> list[SizeBar]:
    """Images right of each size, of `images.csv`."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [(float(row["size_percent"]), float(row["iou"])) for row in csv.DictReader(file)]
    bounds = {"small": (-1.0, SIZE_EDGES[0]), "medium": SIZE_EDGES, "large": (SIZE_EDGES[1], math.inf)}
    bars = []
    for group, (low, high) in bounds.items():
        ious = [iou for size, iou in rows if low <= size < high]
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
