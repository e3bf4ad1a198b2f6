"""The figures of the report as plain Plotly specifications: here the trials in time, in `figures_space.py` what was
searched, in `figures_winner.py` what came out.

Colours are written `var(--name)`: the page replaces them by its own variables, so that figures follow its light and
dark theme. Every figure says in its caption which trials it shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator import formats
from orchestrator.summary import TrialRow

Spec = dict[str, Any]

COLORS = {
    "complete": "var(--complete)",
    "pruned": "var(--pruned)",
    "failed": "var(--failed)",
    "running": "var(--running)",
}
SLACK = timedelta(
    seconds=2
)  # times are recorded in whole seconds: the next trial on a worker may seem to begin before the last one ended


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
        names[path] = next(
            (end for end in endings if sum(other == end or other.endswith("." + end) for other in paths) == 1), path
        )
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
    caption = f"{states(valued)} with a value. The line is the best complete trial so far."
    if failed:
        caption += f" {counted(len(failed), 'failed trial')} marked at the bottom: they have no value."
    return Figure(
        "history", "Objective by trial", caption, {"data": [trace for trace in data if trace["x"]], "layout": layout}
    )


@dataclass(frozen=True, slots=True)
class Search:
    """The trials of one search.

    Attributes:
        name: of the run.
        way: how it chose, such as `tpe + asha`; searches of one way share a colour.
        trials: by number.
    """

    name: str
    way: str
    trials: Sequence[TrialRow]


def effort(searches: Sequence[Search], objective: str, maximize: bool) -> Figure | None:
    """The best complete trial over the epochs that all trials until then took, a line for each search.

    One search alone whose trials all ran to their end is not drawn: `history` shows the same.
    """
    stopped = [trial for search in searches for trial in search.trials if trial.state == "pruned"]
    lines = [line for search in searches if (line := _effort_line(search, max if maximize else min))["x"]]
    if not lines or (len(searches) == 1 and not stopped):
        return None
    ways = list(dict.fromkeys(search.way for search in searches))
    palette = ("var(--best)", "var(--complete)", "var(--running)", "var(--pruned)", "var(--failed)")
    colors = dict(zip(ways, itertools.cycle(palette), strict=False))
    for line in lines:
        line["line"] = {"color": colors[line.pop("way")], "width": 2.5 if line is lines[0] else 1.5, "shape": "hv"}
    largest = max(max(line["x"]) for line in lines)
    layout = {"xaxis": _whole("epochs trained", largest), "yaxis": {"title": {"text": objective}}, "height": 340}
    caption = "The best complete trial so far, by the epochs of all trials that had ended, stopped and failed ones too."
    return Figure("effort", "Best value by epochs trained", caption, {"data": lines, "layout": layout})


def curves(trials: Sequence[TrialRow], winner: int | None, objective: str, scheduler: str = "") -> Figure | None:
    """The objective after each epoch, one line a trial, the winner in front; a cross where the scheduler stopped a
    trial."""
    shown = [trial for trial in trials if trial.curve]
    if not shown:
        return None
    pruned = [trial for trial in shown if trial.state == "pruned"]
    data = [
        _lines(state, [trial for trial in shown if _group(trial) == state and trial.number != winner])
        for state in COLORS
    ]
    front = _lines("complete", [trial for trial in shown if trial.number == winner])
    front.update(
        name=f"trial {winner}, the best", opacity=1, line={"color": "var(--best)", "width": 3}, marker={"size": 5}
    )
    layout = {
        "xaxis": _whole("epoch", max(max(trial.curve) for trial in shown)),
        "yaxis": {"title": {"text": objective}},
        "height": 340,
    }
    caption = f"{states(shown)} that reported at least one epoch."
    if pruned:
        caption += f" A cross ends the {counted(len(pruned), 'trial')} that {scheduler or 'the scheduler'} stopped."
    traces = [*data, _stops(pruned), front]
    return Figure(
        "curves", "Objective by epoch", caption, {"data": [trace for trace in traces if trace["x"]], "layout": layout}
    )


def timeline(trials: Sequence[TrialRow], now: datetime) -> Figure | None:
    """When each trial ran and where: a row for every trial that a host ran at the same time. One without an end is
    drawn up to `now`."""
    shown = sorted(
        (trial for trial in trials if trial.started is not None), key=lambda trial: (trial.started, trial.number)
    )
    if not shown:
        return None
    rows = places(shown, now)
    names = sorted(set(rows.values()), key=lambda name: (name.partition(" #")[0], int(name.partition(" #")[2])))
    data = [_bars(state, [trial for trial in shown if _group(trial) == state], rows, now) for state in COLORS]
    layout = {
        "barmode": "overlay",
        "xaxis": {"type": "date"},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names[::-1]},
        "height": 120 + 34 * max(len(names), 3),
        "uniformtext": {"mode": "hide", "minsize": 9},
    }
    caption = f"{states(shown)} with a start time, in UTC. One row for each trial that a host ran at once."
    return Figure(
        "timeline",
        "When and where trials ran",
        caption,
        {"data": [trace for trace in data if trace["y"]], "layout": layout},
    )


def places(trials: Sequence[TrialRow], now: datetime) -> dict[int, str]:
    """Trial number -> `host #2`: the host, and the first place there that was free when the trial began.

    Args:
        trials: with start times, in their order.
        now: where trials without an end end.
    """
    hosts = sorted({_host(trial) for trial in trials} - {""})
    free: dict[str, list[datetime]] = {}
    found = {}
    for trial in trials:
        host = _host(trial) or (hosts[0] if len(hosts) == 1 else "unknown host")
        ends, start = free.setdefault(host, []), trial.started or now
        place = next((index for index, end in enumerate(ends) if end <= start + SLACK), len(ends))
        ends[place : place + 1] = [trial.ended or now]
        found[trial.number] = f"{host} #{place + 1}"
    return found


def _host(trial: TrialRow) -> str:
    """Where it ran, without the process; empty where nobody said."""
    host = trial.worker.rpartition(":")[0]
    return host if host != "unknown" else ""


def _whole(title: str, largest: int) -> Spec:
    """An axis of counted things: a short one would get ticks at halves."""
    return {"title": {"text": title}, "tickformat": "d"} | ({"dtick": 1} if largest < 8 else {})


def _group(trial: TrialRow) -> str:
    """States that share a colour."""
    return {"interrupted": "running", "waiting": "running"}.get(trial.state, trial.state)


def complete_trials(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """Those that ended well, with a value."""
    return [trial for trial in trials if trial.state == "complete" and trial.value is not None]


def states(trials: Sequence[TrialRow]) -> str:
    """`12 complete and 2 pruned trials`."""
    states = list(dict.fromkeys(trial.state for trial in trials))
    parts = [f"{sum(trial.state == state for trial in trials)} {state}" for state in states]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"{text} {'trial' if len(trials) == 1 else 'trials'}" if trials else "No trial"


def label(trial: TrialRow) -> str:
    """Text of a hover box, which reads `<` as markup."""
    value = "no value" if trial.value is None else f"{trial.value:.2f}"
    lines = [
        f"trial {trial.number}, {trial.state}: {value}",
        *(f"{name} = {formats.plain(value)}" for name, value in trial.params.items()),
    ]
    return "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in lines[:16])


def _best_line(trials: Sequence[TrialRow], better: Callable[[float, float], float]) -> Spec:
    complete = complete_trials(trials)
    numbers = [trial.number for trial in complete]
    values = list(itertools.accumulate((trial.value for trial in complete if trial.value is not None), better))
    line = {"color": "var(--best)", "width": 2.5, "shape": "hv"}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": numbers,
        "y": values,
        "line": line,
        "hoverinfo": "skip",
    }


def _effort_line(search: Search, better: Callable[[float, float], float]) -> Spec:
    """Epochs and best value whenever a trial ended, from the first complete one on."""
    ended = sorted((trial for trial in search.trials if trial.ended), key=lambda trial: (trial.ended, trial.number))
    spent, best, epochs, values = 0, None, [], []
    for trial in ended:
        spent += max(trial.curve, default=trial.epochs or 0)
        if trial.state == "complete" and trial.value is not None:
            best = trial.value if best is None else better(best, trial.value)
        if best is not None:
            epochs.append(spent)
            values.append(best)
    name = f"{search.name} ({search.way})"
    text = [f"{name}: {value:.2f} after {count} epochs" for count, value in zip(epochs, values, strict=True)]
    spec: Spec = {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": epochs,
        "y": values,
        "text": text,
        "hoverinfo": "text",
    }
    return {**spec, "way": search.way}


def _points(state: str, trials: Sequence[TrialRow], values: Sequence[float | None]) -> Spec:
    marker = {
        "color": COLORS[state],
        "size": 8,
        "symbol": {"complete": "circle", "failed": "x"}.get(state, "circle-open"),
    }
    numbers, labels = [trial.number for trial in trials], [label(trial) for trial in trials]
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
    spec: Spec = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": state,
        "x": epochs,
        "y": values,
        "text": labels,
        "hoverinfo": "text",
    }
    return {**spec, "opacity": 0.45, "line": {"color": COLORS[state], "width": 1.25}, "marker": {"size": 3}}


def _stops(pruned: Sequence[TrialRow]) -> Spec:
    """Where trials were stopped."""
    ends = [max(trial.curve) for trial in pruned]
    values = [trial.curve[end] for trial, end in zip(pruned, ends, strict=True)]
    spec: Spec = {"type": "scatter", "mode": "markers", "name": "stopped", "x": ends, "y": values}
    marker = {"color": COLORS["pruned"], "size": 7, "symbol": "x-thin", "line": {"color": COLORS["pruned"], "width": 2}}
    return {**spec, "text": [label(trial) for trial in pruned], "hoverinfo": "text", "marker": marker}


def _bars(state: str, trials: Sequence[TrialRow], rows: dict[int, str], now: datetime) -> Spec:
    starts = [trial.started for trial in trials if trial.started is not None]
    lengths = [
        max(((trial.ended or now) - start).total_seconds(), 0) * 1000
        for trial, start in zip(trials, starts, strict=True)
    ]
    names = [rows[trial.number] for trial in trials]
    bars: Spec = {
        "type": "bar",
        "orientation": "h",
        "name": state,
        "y": names,
        "x": lengths,
        "base": [start.isoformat() for start in starts],
    }
    text: Spec = {
        "text": [str(trial.number) for trial in trials],
        "textposition": "inside",
        "textangle": 0,
        "insidetextanchor": "middle",
    }
    look: Spec = {"textfont": {"color": "var(--card)"}, "width": 0.7, "marker": {"color": COLORS[state]}}
    return {**bars, **text, **look, "hovertext": [label(trial) for trial in trials], "hoverinfo": "text"}
