"""The figures of the winner: over score thresholds, by object size, and, for masks, precision over recall."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.figure import Figure

Curve = tuple[list[float], list[float]]
"""x and y values of a curve."""


SPLIT_COLORS = {"train_fullsup": "var(--complete)", "test": "var(--best)"}


@dataclass(frozen=True, slots=True)
class SizeBar:
    """One bar: objects of one size on one split.

    Attributes:
        size: the label on the axis.
        value: percent of these objects that are right.
        interval: its 95 % interval in percent; None where unknown.
        images: number of images with such objects.
    """

    size: str
    value: float
    interval: tuple[float, float] | None
    images: int | None


def thresholds_figure(curves: Mapping[str, Mapping[str, Curve]], name: Callable[[str], str]) -> Figure | None:
    """Percent of right images over the score threshold, a line for each IoU; the protocol reports the top of each line.

    Args:
        curves: split -> curve -> score thresholds and percent.
        name: returns the name of a curve for readers.
    """
    colors, dashes = ("var(--complete)", "var(--best)", "var(--running)"), {"train_fullsup": "dot", "test": "solid"}
    data = [
        {
            "x": x,
            "y": y,
            "mode": "lines",
            "name": f"{name(curve)}, {split}",
            "line": {"color": color, "width": 2, "dash": dashes[split]},
        }
        for split, lines in curves.items()
        for color, (curve, (x, y)) in zip(itertools.cycle(colors), lines.items(), strict=False)
    ]
    if not data:
        return None
    layout = {
        "xaxis": {"title": {"text": "score threshold"}, "range": [0, 1]},
        "yaxis": {"title": {"text": "images right, %"}},
        "height": 380,
    }
    caption = (
        "The winner on each split. The protocol reports the top of each curve; where the tops lie apart, the threshold"
        " does not carry over."
    )
    return Figure("thresholds", "Accuracy by score threshold", caption, {"data": data, "layout": layout})


def sizes_figure(bars: Mapping[str, Sequence[SizeBar]], caption: str) -> Figure | None:
    """Percent of right images by object size, a bar for each split.

    Args:
        bars: split -> one bar for each size.
        caption: what is counted.
    """
    data = [
        {
            "type": "bar",
            "name": split,
            "x": [bar.size for bar in shown],
            "y": [bar.value for bar in shown],
            "error_y": _errors(shown),
            "text": [f"{bar.value:.1f}" + (f"<br>n {bar.images}" if bar.images is not None else "") for bar in shown],
            "textposition": "inside",
            "insidetextanchor": "start",
            "textfont": {"color": "var(--card)"},
            "hoverinfo": "skip",
            "marker": {"color": SPLIT_COLORS[split]},
        }
        for split, shown in bars.items()
        if shown
    ]
    layout = {
        "barmode": "group",
        "yaxis": {"title": {"text": "%"}, "rangemode": "tozero"},
        "xaxis": {"type": "category"},
        "height": 340,
    }
    return (
        Figure("sizes", "By object size", f"The winner. {caption}", {"data": data, "layout": layout}) if data else None
    )


def precision_recall_figure(curves: Mapping[str, Curve]) -> Figure | None:
    """Precision over recall of all pixels, a line for each split.

    Args:
        curves: split -> recall and precision in percent.
    """
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": split,
            "x": x,
            "y": y,
            "line": {"color": SPLIT_COLORS[split], "width": 2},
        }
        for split, (x, y) in curves.items()
    ]
    axes = {
        "xaxis": {"title": {"text": "recall, %"}, "range": [0, 100]},
        "yaxis": {"title": {"text": "precision, %"}, "rangemode": "tozero"},
    }
    caption = "The winner, the pixels of all images together. PxAP is the area below the curve."
    return (
        Figure("pixels", "Precision and recall of pixels", caption, {"data": data, "layout": {**axes, "height": 340}})
        if data
        else None
    )


def _errors(bars: Sequence[SizeBar]) -> dict[str, object]:
    """The bounds around the values; a bar without an interval has none."""
    bounds = [bar.interval or (bar.value, bar.value) for bar in bars]
    up = [max(high - bar.value, 0) for bar, (_, high) in zip(bars, bounds, strict=True)]
    down = [max(bar.value - low, 0) for bar, (low, _) in zip(bars, bounds, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "color": "var(--ink)",
        "thickness": 1.2,
        "width": 4,
    }
