"""The figures of the search space: each parameter alone, all together, the two most important ones, and objectives
against each other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import optuna

from orchestrator.report.figure import Figure, Spec, complete_trials, label, short_names, shown_text, states, titled
from orchestrator.runs.summary import TrialRow
from wsol.errors import counted

MAX_CATEGORIES = 24


MAX_TICKS = 5
"""Largest number of different whole numbers of a parameter that all get a tick."""


MIN_COLUMN = 110


CONTOUR_TRIALS = 150
"""Largest number of trials in the contour: Optuna's contour has as many rows and columns as trials, which would make
the page large."""


RAMP = [[0, "var(--low)"], [1, "var(--best)"]]


def slices_figure(
    trials: Sequence[TrialRow], order: Sequence[str], log: frozenset[str], winner: int | None, objective: str
) -> list[Figure]:
    """The objective over each parameter alone.

    Args:
        trials: all trials of the study; the complete ones are shown.
        order: the search paths, in the order of the figures.
        log: search paths that are drawn on a logarithmic axis.
        winner: number of the trial that is highlighted.
        objective: name of the value axis.
    """
    complete = complete_trials(trials)
    if len(complete) < 2:
        return []
    figures = [
        _slice(path, [trial for trial in complete if path in trial.params], path in log, winner, objective)
        for path in order
    ]
    return [figure for figure in figures if figure.spec["data"]]


def parallel_figure(
    trials: Sequence[TrialRow], order: Sequence[str], log: frozenset[str], objective: str
) -> Figure | None:
    """Parallel coordinates over the parameters that every complete trial has; None with fewer than two of them or of
    trials."""
    complete = complete_trials(trials)
    shared = [path for path in order if complete and all(path in trial.params for trial in complete)]
    if len(complete) < 2 or len(shared) < 2:
        return None
    values = [trial.value for trial in complete]
    names = short_names(order)
    axes = [_axis(shown_text(names[path]), [trial.params[path] for trial in complete], path in log) for path in shared]
    line = {"color": values, "colorscale": RAMP, "showscale": False}
    data = [{"type": "parcoords", "dimensions": [*axes, {"label": "objective", "values": values}], "line": line}]
    caption = (
        f"{states(complete)}; the stronger the colour, the higher is {objective}. Drag along an axis to keep a range."
    )
    left = len(order) - len(shared)
    if left:
        caption += f" {counted(left, 'parameter')} that only some trials have {'is' if left == 1 else 'are'} left out."
    layout = {"height": 360, "margin": {"l": 64, "r": 56, "t": 48, "b": 24}}
    return Figure(
        "parallel", "Parameters together", caption, {"data": data, "layout": layout}, MIN_COLUMN * (len(shared) + 1)
    )


def contour_figure(study: optuna.Study | None, order: Sequence[str], objective: str) -> Figure | None:
    """Optuna's contour of the objective over the first two parameters that vary in the same complete trials; None
    without such a pair.

    Args:
        study: the study that is drawn.
        order: the search paths, the most important first.
        objective: what the colour means.
    """
    complete = [] if study is None else study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    pair = _pair(complete, order)
    if pair is None:
        return None
    both = [trial for trial in complete if all(path in trial.params for path in pair)]
    shown = sorted(both, key=lambda trial: -trial.number)[:CONTOUR_TRIALS]
    names = short_names(order)
    drawn = _optuna_contour(shown, pair)
    first, second = (axis["title"]["text"] for axis in (drawn["layout"]["xaxis"], drawn["layout"]["yaxis"]))
    layout: Spec = {
        axis: {**drawn["layout"][axis], **titled(names[path]), **_ticks([trial.params[path] for trial in shown])}
        for axis, path in (("xaxis", first), ("yaxis", second))
    }
    layout["height"] = 380
    caption = (
        f"{counted(len(shown), 'complete trial')}{' (the newest)' if len(shown) < len(both) else ''} as dots; the"
        " colour between them is "
    )
    caption += f"interpolated: the stronger, the higher is {objective}."
    return Figure("contour", f"{names[first]} and {names[second]}", caption, {"data": drawn["data"], "layout": layout})


def fronts_figure(trials: Sequence[TrialRow], objectives: Sequence[str], names: Sequence[str]) -> list[Figure]:
    """The first objective over each other one; trials on the Pareto front, which no other trial beats in all
    objectives, are highlighted.

    Args:
        trials: all trials of the study; the complete ones are shown.
        objectives: the keys of the objectives, the first one first.
        names: their names for readers.
    """
    complete = [trial for trial in complete_trials(trials) if len(trial.values) == len(objectives)]
    best = [trial for trial in complete if not any(_dominates(other, trial) for other in complete)]
    return [_front(place, complete, best, names) for place in range(1, len(objectives)) if complete]


def _dominates(first: TrialRow, second: TrialRow) -> bool:
    pairs = list(zip(first.values, second.values, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _front(place: int, complete: Sequence[TrialRow], best: Sequence[TrialRow], names: Sequence[str]) -> Figure:
    data = []
    for name, shown, color, size in (
        ("another is better in all", [trial for trial in complete if trial not in best], "var(--complete)", 7),
        ("best compromises", sorted(best, key=lambda trial: trial.values[place]), "var(--best)", 11),
    ):
        points: Spec = {"x": [trial.values[place] for trial in shown], "y": [trial.values[0] for trial in shown]}
        look = {"mode": "markers", "marker": {"color": color, "size": size}, "name": name}
        data.append(
            {"type": "scatter", **points, **look, "text": [label(trial) for trial in shown], "hoverinfo": "text"}
        )
    layout = {
        "xaxis": titled(names[place]),
        "yaxis": titled(names[0]),
        "height": 340,
    }
    caption = f"{states(complete)}; of {counted(len(best), 'trial')} no other is better in all {len(names)} objectives."
    return Figure(
        f"front-{place}",
        "Objectives against each other",
        caption,
        {"data": [trace for trace in data if trace["x"]], "layout": layout},
    )


def _pair(complete: Sequence[optuna.trial.FrozenTrial], order: Sequence[str]) -> tuple[str, str] | None:
    """The first two parameters that both vary among trials that have both."""
    for place, second in enumerate(order):
        for first in order[:place]:
            both = [trial.params for trial in complete if first in trial.params and second in trial.params]
            if all(len({str(params[path]) for params in both}) > 1 for path in (first, second)):
                return first, second
    return None


def _optuna_contour(trials: Sequence[optuna.trial.FrozenTrial], pair: tuple[str, str]) -> Spec:
    """Optuna's own figure as plain values, in the page's colours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(directions=["maximize"] * len(trials[0].values))
        study.add_trials(list(trials))
        figure = optuna.visualization.plot_contour(study, params=list(pair), target=lambda trial: trial.values[0])
    field, dots = figure.data[0], figure.data[1]
    values = [
        [None if value is None or math.isnan(value) else round(float(value), 3) for value in row] for row in field.z
    ]
    color = {"colorscale": RAMP, "showscale": False, "connectgaps": True}
    look = {**color, "contours": {"coloring": "heatmap"}, "line": {"width": 0.5}, "hoverinfo": "skip"}
    places = {axis: [_coordinate(value) for value in getattr(dots, axis)] for axis in "xy"}
    marker = {"color": "var(--ink)", "size": 7, "line": {"color": "var(--card)", "width": 1.5}}
    data = [
        {
            "type": "contour",
            "x": list(map(_coordinate, field.x)),
            "y": list(map(_coordinate, field.y)),
            "z": values,
            **look,
        },
        {"type": "scatter", "mode": "markers", **places, "marker": marker, "showlegend": False},
    ]
    plain = figure.layout.to_plotly_json()
    axes = {
        axis: {key: plain[axis][key] for key in ("title", "range", "type") if key in plain[axis]}
        for axis in ("xaxis", "yaxis")
    }
    for axis in axes.values():
        axis |= {"exponentformat": "e", "dtick": 1} if axis.get("type") == "log" else {}
    return {"data": data, "layout": axes}


def _slice(path: str, trials: Sequence[TrialRow], log: bool, winner: int | None, objective: str) -> Figure:
    data = []
    for best, color, size, symbol in ((False, "var(--complete)", 7, "circle"), (True, "var(--best)", 15, "star")):
        shown = [trial for trial in trials if (trial.number == winner) == best]
        marker = {"color": color, "size": size, "symbol": symbol, "opacity": 1 if best else 0.7}
        x, y, text = (
            [_coordinate(trial.params[path]) for trial in shown],
            [trial.value for trial in shown],
            [label(trial) for trial in shown],
        )
        spec: Spec = {"type": "scatter", "mode": "markers", "x": x, "y": y, "text": text, "hoverinfo": "text"}
        data.append({**spec, "marker": marker, "showlegend": False})
    axis = _scale([trial.params[path] for trial in trials], log)
    layout = {
        "xaxis": axis,
        "yaxis": {**titled(objective), "nticks": 5},
        "height": 210,
        "margin": {"t": 10, "b": 24},
    }
    return Figure(
        f"slice-{path}", path, states(trials), {"data": [trace for trace in data if trace["x"]], "layout": layout}
    )


def _scale(values: Sequence[Any], log: bool) -> Spec:
    """The axis of one parameter; one tick a decade where there are decades."""
    if not all(_is_number(value) for value in values):
        return {"type": "category"}
    decades = log and bool(values) and max(values) >= 20 * min(values)
    ticks = {"exponentformat": "e", "dtick": 1} if decades else _ticks(values)
    return {"type": "log" if log else "linear", "nticks": 5, **ticks}


def _ticks(values: Sequence[Any]) -> Spec:
    """Ticks at a few whole numbers, such as strides, and at no number between them."""
    kinds = set(values)
    few = len(kinds) <= MAX_TICKS and all(isinstance(value, int) and not isinstance(value, bool) for value in kinds)
    return {"tickvals": sorted(kinds)} if few else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _coordinate(value: Any) -> Any:
    return value if _is_number(value) else shown_text(str(value))


def _axis(label: str, values: Sequence[Any], log: bool) -> Spec:
    """One axis of the parallel coordinates. Such axes only take numbers; the ticks say what the numbers stand for."""
    if not all(_is_number(value) for value in values):
        names = sorted({str(value) for value in values})[:MAX_CATEGORIES]
        places = [names.index(str(value)) if str(value) in names else len(names) for value in values]
        return {
            "label": label,
            "values": places,
            "tickvals": list(range(len(names))),
            "ticktext": list(map(shown_text, names)),
        }
    if not log or min(values) <= 0:
        return {"label": label, "values": list(values), **_ticks(values)}
    powers = [math.log10(value) for value in values]
    ticks = _log_ticks(min(powers), max(powers))
    return {"label": label, "values": powers, "tickvals": ticks, "ticktext": [f"{10**tick:.3g}" for tick in ticks]}


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade in the range, or only the decades where there are many."""
    steps = (1,) if high - low > 2 else (1, 2, 5)
    marks = [power + math.log10(step) for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    inside = [mark for mark in marks if low <= mark <= high]
    return inside or [low]
