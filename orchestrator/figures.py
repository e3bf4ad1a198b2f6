"""The figures of the report as plain Plotly specifications.

Colours are written `var(--name)`: the page replaces them by its own variables, so that figures follow its light and dark theme.
Every figure says in its caption which trials it shows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.summary import TrialRow

Spec = dict[str, Any]

ThresholdCurves = Mapping[str, tuple[list[float], list[float]]]
"""Curve -> score thresholds and percent."""

COLORS = {"complete": "var(--complete)", "pruned": "var(--pruned)", "failed": "var(--failed)", "running": "var(--running)"}
MAX_CATEGORIES = 24
MIN_COLUMN = 110


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the page.

    Attributes:
        key: its id in the page.
        title: what it shows.
        caption: which trials it uses.
        spec: Plotly `data` and `layout`.
        min_width: pixels below which the figure scrolls sideways; 0: it always fits.
    """

    key: str
    title: str
    caption: str
    spec: Spec
    min_width: int = 0


def counted(number: int, noun: str) -> str:
    """`1 trial`, `3 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Search path -> its shortest ending that no other path shares; `name` alone would say nothing."""
    names = {}
    for path in paths:
        parts = path.split(".")
        endings = (".".join(parts[-length:]) for length in range(2 if parts[-1] == "name" else 1, len(parts) + 1))
        names[path] = next((end for end in endings if sum(other == end or other.endswith("." + end) for other in paths) == 1), path)
    return names


def history(trials: Sequence[TrialRow], objective: str, maximize: bool) -> Figure | None:
    """The objective of each trial and the best of the complete ones so far; failed trials as crosses at the bottom."""
    valued = [trial for trial in trials if trial.value is not None and trial.state != "failed"]
    failed = [trial for trial in trials if trial.state == "failed"]
    if not valued:
        return None
    data = [_best_line(valued, max if maximize else min)]
    for state in ("complete", "pruned", "running"):
        shown = [trial for trial in valued if _group(trial) == state]
        data.append(_points(state, shown, [trial.value for trial in shown]))
    values = [trial.value for trial in valued if trial.value is not None]
    floor = min(values) - 0.06 * (max(values) - min(values))
    data.append(_points("failed", failed, [floor] * len(failed)))
    layout = {"xaxis": _whole("trial", len(trials)), "yaxis": {"title": {"text": objective}}, "height": 340}
    caption = f"{_states(valued)} with a value. The line is the best complete trial so far."
    if failed:
        caption += f" {counted(len(failed), 'failed trial')} marked at the bottom: they have no value."
    return Figure("history", "Objective by trial", caption, {"data": [trace for trace in data if trace["x"]], "layout": layout})


def curves(trials: Sequence[TrialRow], winner: int | None, objective: str) -> Figure | None:
    """The objective after each epoch, one line a trial, the winner in front."""
    shown = [trial for trial in trials if trial.curve]
    if not shown:
        return None
    data = [_lines(state, [trial for trial in shown if _group(trial) == state and trial.number != winner]) for state in COLORS]
    front = _lines("complete", [trial for trial in shown if trial.number == winner])
    front.update(name=f"trial {winner}, the best", opacity=1, line={"color": "var(--best)", "width": 3}, marker={"size": 5})
    layout = {"xaxis": _whole("epoch", max(max(trial.curve) for trial in shown)), "yaxis": {"title": {"text": objective}}, "height": 340}
    caption = f"{_states(shown)} that reported at least one epoch."
    return Figure("curves", "Objective by epoch", caption, {"data": [trace for trace in (*data, front) if trace["x"]], "layout": layout})


def thresholds(curves: Mapping[str, ThresholdCurves], name: Callable[[str], str]) -> Figure | None:
    """Percent of images right over the score threshold, a line for each IoU; what the protocol reports is the top of each.

    Args:
        curves: split -> curve -> score thresholds and percent.
        name: makes a curve readable.
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
    layout = {"xaxis": {"title": {"text": "score threshold"}, "range": [0, 1]}, "yaxis": {"title": {"text": "images right, %"}}, "height": 340}
    caption = "The winner on each split. The protocol reports the top of each curve; where the tops lie apart, the threshold does not carry over."
    return Figure("thresholds", "Accuracy by score threshold", caption, {"data": data, "layout": layout})


def slices(trials: Sequence[TrialRow], order: Sequence[str], log: frozenset[str], winner: int | None, objective: str) -> list[Figure]:
    """The objective over each parameter alone.

    Args:
        trials: all of the study; complete ones are shown.
        order: the search paths, in the order of the figures.
        log: search paths that are drawn on a logarithmic axis.
        winner: number of the trial to stand out.
        objective: name of the value axis.
    """
    complete = _complete(trials)
    if len(complete) < 2:
        return []
    figures = [_slice(path, [trial for trial in complete if path in trial.params], path in log, winner, objective) for path in order]
    return [figure for figure in figures if figure.spec["data"]]


def parallel(trials: Sequence[TrialRow], order: Sequence[str], log: frozenset[str], objective: str) -> Figure | None:
    """Parallel coordinates over the parameters that every complete trial has; None with fewer than two of them or of trials."""
    complete = _complete(trials)
    shared = [path for path in order if complete and all(path in trial.params for trial in complete)]
    if len(complete) < 2 or len(shared) < 2:
        return None
    values = [trial.value for trial in complete]
    names = short_names(order)
    axes = [_axis(names[path], [trial.params[path] for trial in complete], path in log) for path in shared]
    line = {"color": values, "colorscale": [[0, "var(--low)"], [1, "var(--best)"]], "showscale": False}
    data = [{"type": "parcoords", "dimensions": [*axes, {"label": "objective", "values": values}], "line": line}]
    caption = f"{_states(complete)}; the stronger the colour, the higher is {objective}. Drag along an axis to keep a range."
    left = len(order) - len(shared)
    if left:
        caption += f" {counted(left, 'parameter')} that only some trials have {'is' if left == 1 else 'are'} left out."
    layout = {"height": 360, "margin": {"l": 64, "r": 56, "t": 48, "b": 24}}
    return Figure("parallel", "Parameters together", caption, {"data": data, "layout": layout}, MIN_COLUMN * (len(shared) + 1))


def timeline(trials: Sequence[TrialRow], now: datetime) -> Figure | None:
    """When each trial ran. A trial without an end is drawn up to `now`."""
    shown = [trial for trial in trials if trial.started is not None]
    if not shown:
        return None
    data = [trace for state in COLORS if (trace := _bars(state, [trial for trial in shown if _group(trial) == state], now))["y"]]
    layout = {
        "barmode": "overlay",
        "xaxis": {"type": "date"},
        "yaxis": {**_whole("trial", len(trials)), "autorange": "reversed"},
        "height": 340,
    }
    return Figure("timeline", "When trials ran", f"{_states(shown)} with a start time, in UTC.", {"data": data, "layout": layout})


def _whole(title: str, largest: int) -> Spec:
    """An axis of counted things: a short one would get ticks at halves."""
    return {"title": {"text": title}, "tickformat": "d"} | ({"dtick": 1} if largest < 8 else {})


def _group(trial: TrialRow) -> str:
    """States that share a colour."""
    return {"interrupted": "running", "waiting": "running"}.get(trial.state, trial.state)


def _complete(trials: Sequence[TrialRow]) -> list[TrialRow]:
    return [trial for trial in trials if trial.state == "complete" and trial.value is not None]


def _states(trials: Sequence[TrialRow]) -> str:
    """`12 complete and 2 pruned trials`."""
    states = list(dict.fromkeys(trial.state for trial in trials))
    parts = [f"{sum(trial.state == state for trial in trials)} {state}" for state in states]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"{text} {'trial' if len(trials) == 1 else 'trials'}" if trials else "No trial"


def _label(trial: TrialRow) -> str:
    """Text of a hover box, which reads `<` as markup."""
    value = "no value" if trial.value is None else f"{trial.value:.2f}"
    lines = [f"trial {trial.number}, {trial.state}: {value}", *(f"{name} = {_number(value)}" for name, value in trial.params.items())]
    return "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in lines[:16])


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _best_line(trials: Sequence[TrialRow], better: Callable[[float, float], float]) -> Spec:
    complete = _complete(trials)
    numbers = [trial.number for trial in complete]
    values = list(itertools.accumulate((trial.value for trial in complete if trial.value is not None), better))
    line = {"color": "var(--best)", "width": 2.5, "shape": "hv"}
    return {"type": "scatter", "mode": "lines", "name": "best so far", "x": numbers, "y": values, "line": line, "hoverinfo": "skip"}


def _points(state: str, trials: Sequence[TrialRow], values: Sequence[float | None]) -> Spec:
    marker = {"color": COLORS[state], "size": 8, "symbol": {"complete": "circle", "failed": "x"}.get(state, "circle-open")}
    numbers, labels = [trial.number for trial in trials], [_label(trial) for trial in trials]
    spec = {"type": "scatter", "mode": "markers", "name": state, "x": numbers, "y": list(values)}
    return {**spec, "text": labels, "hoverinfo": "text", "marker": marker}


def _lines(state: str, trials: Sequence[TrialRow]) -> Spec:
    """One trace for all trials of a state: a gap separates two trials."""
    epochs: list[int | None] = []
    values: list[float | None] = []
    labels: list[str] = []
    for trial in trials:
        epochs += [*trial.curve, None]
        values += [*trial.curve.values(), None]
        labels += [*(f"trial {trial.number}, epoch {epoch}: {value:.2f}" for epoch, value in trial.curve.items()), ""]
    spec: Spec = {"type": "scatter", "mode": "lines+markers", "name": state, "x": epochs, "y": values, "text": labels, "hoverinfo": "text"}
    return {**spec, "opacity": 0.45, "line": {"color": COLORS[state], "width": 1.25}, "marker": {"size": 3}}


def _slice(path: str, trials: Sequence[TrialRow], log: bool, winner: int | None, objective: str) -> Figure:
    data = []
    for best, color, size, symbol in ((False, "var(--complete)", 7, "circle"), (True, "var(--best)", 15, "star")):
        shown = [trial for trial in trials if (trial.number == winner) == best]
        marker = {"color": color, "size": size, "symbol": symbol, "opacity": 1 if best else 0.7}
        x, y, text = [_coordinate(trial.params[path]) for trial in shown], [trial.value for trial in shown], [_label(trial) for trial in shown]
        spec: Spec = {"type": "scatter", "mode": "markers", "x": x, "y": y, "text": text, "hoverinfo": "text"}
        data.append({**spec, "marker": marker, "showlegend": False})
    axis = _scale([trial.params[path] for trial in trials], log)
    layout = {"xaxis": axis, "yaxis": {"title": {"text": objective}, "nticks": 5}, "height": 210, "margin": {"t": 10, "b": 24}}
    return Figure(f"slice-{path}", path, _states(trials), {"data": [trace for trace in data if trace["x"]], "layout": layout})


def _scale(values: Sequence[Any], log: bool) -> Spec:
    """The axis of one parameter; one tick a decade where there are decades."""
    if not all(_is_number(value) for value in values):
        return {"type": "category"}
    decades = log and bool(values) and max(values) >= 20 * min(values)
    return {"type": "log" if log else "linear", "nticks": 5} | ({"exponentformat": "e", "dtick": 1} if decades else {})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _coordinate(value: Any) -> Any:
    return value if _is_number(value) else str(value)


def _axis(label: str, values: Sequence[Any], log: bool) -> Spec:
    """One axis of the parallel coordinates, which knows numbers only: the ticks say what they stand for."""
    if not all(_is_number(value) for value in values):
        names = sorted({str(value) for value in values})[:MAX_CATEGORIES]
        places = [names.index(str(value)) if str(value) in names else len(names) for value in values]
        return {"label": label, "values": places, "tickvals": list(range(len(names))), "ticktext": names}
    if not log or min(values) <= 0:
        return {"label": label, "values": list(values)}
    powers = [math.log10(value) for value in values]
    ticks = _log_ticks(min(powers), max(powers))
    return {"label": label, "values": powers, "tickvals": ticks, "ticktext": [f"{10**tick:.3g}" for tick in ticks]}


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade in the range, or only the decades where there are many."""
    steps = (1,) if high - low > 2 else (1, 2, 5)
    marks = [power + math.log10(step) for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    inside = [mark for mark in marks if low <= mark <= high]
    return inside or [low]


def _bars(state: str, trials: Sequence[TrialRow], now: datetime) -> Spec:
    starts = [trial.started for trial in trials if trial.started is not None]
    lengths = [max(((trial.ended or now) - start).total_seconds(), 0) * 1000 for trial, start in zip(trials, starts, strict=True)]
    numbers = [trial.number for trial in trials]
    bars: Spec = {"type": "bar", "orientation": "h", "name": state, "y": numbers, "x": lengths, "base": [start.isoformat() for start in starts]}
    text = [_label(trial) for trial in trials]
    return {**bars, "text": text, "hoverinfo": "text", "textposition": "none", "width": 0.7, "marker": {"color": COLORS[state]}}
