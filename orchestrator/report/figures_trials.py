"""The figures of the report as plain Plotly specifications: here the trials in time, in `figures_effort.py` what
they cost, in `figures_space.py` the search space, in `figures_winner.py` the winner.

Colours are written `var(--name)`: the page replaces them by its own variables, so that figures follow its light and
dark theme. Every figure says in its caption which trials it shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from orchestrator.report.figure import (
    COLORS,
    STOPPED,
    Figure,
    Spec,
    complete_trials,
    label,
    line_traces,
    point_traces,
    shown_text,
    states,
    titled,
    whole_axis,
)
from orchestrator.runs.summary import TrialRow
from wsol.errors import counted

SLACK = timedelta(
    seconds=2
)  # times are recorded in whole seconds: the next trial on a worker may seem to begin before the last one ended


def history_figure(trials: Sequence[TrialRow], objective: str, maximize: bool) -> Figure | None:
    """The objective of each trial and the best of the complete ones so far; failed trials as crosses at the bottom."""
    valued = [trial for trial in trials if trial.value is not None and trial.state != "failed"]
    failed = [trial for trial in trials if trial.state == "failed"]
    if not valued:
        return None
    data = [_best_line(valued, max if maximize else min)]
    for state in ("complete", "pruned", "running"):
        shown = [trial for trial in valued if _group(trial) == state]
        data.append(point_traces(state, shown, [trial.value for trial in shown]))
    values = [trial.value for trial in valued if trial.value is not None]
    floor = min(values) - 0.06 * (max(values) - min(values))
    data.append(point_traces("failed", failed, [floor] * len(failed)))
    layout = {"xaxis": whole_axis("trial", len(trials)), "yaxis": titled(objective), "height": 340}
    caption = f"{states(valued)} with a value. The line is the best complete trial so far."
    if failed:
        caption += f" {counted(len(failed), 'failed trial')} marked at the bottom: they have no value."
    return Figure(
        "history", "Objective by trial", caption, {"data": [trace for trace in data if trace["x"]], "layout": layout}
    )


def curves_figure(trials: Sequence[TrialRow], winner: int | None, objective: str, scheduler: str = "") -> Figure | None:
    """The objective after each epoch, one line for each trial, the winner in front; a cross where the scheduler stopped
    a trial."""
    shown = [trial for trial in trials if trial.curve]
    if not shown:
        return None
    pruned = [trial for trial in shown if trial.state == "pruned"]
    data = [
        line_traces(state, [trial for trial in shown if _group(trial) == state and trial.number != winner])
        for state in COLORS
    ]
    front = line_traces("complete", [trial for trial in shown if trial.number == winner])
    front.update(
        name=f"trial {winner}, the best", opacity=1, line={"color": "var(--best)", "width": 3}, marker={"size": 5}
    )
    layout = {
        "xaxis": whole_axis("epoch", max(max(trial.curve) for trial in shown)),
        "yaxis": titled(objective),
        "height": 340,
    }
    caption = f"{states(shown)} that reported at least one epoch."
    if pruned:
        caption += f" A cross ends the {counted(len(pruned), 'trial')} that {scheduler or 'the scheduler'} stopped."
    traces = [*data, _stops(pruned), front]
    return Figure(
        "curves", "Objective by epoch", caption, {"data": [trace for trace in traces if trace["x"]], "layout": layout}
    )


def timeline_figure(trials: Sequence[TrialRow], now: datetime) -> Figure | None:
    """When and where each trial ran, with a row for each trial that a host ran at the same time. A trial without an end
    is drawn up to `now`."""
    shown = sorted(
        (trial for trial in trials if trial.started is not None), key=lambda trial: (trial.started, trial.number)
    )
    if not shown:
        return None
    rows = busy_share(shown, now)
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


def busy_share(trials: Sequence[TrialRow], now: datetime) -> dict[int, str]:
    """Trial number -> `host #2`: the host, and the first place there that was free when the trial began.

    Args:
        trials: the trials that have a start time, ordered by it.
        now: the end of trials that have none yet.
    """
    hosts = sorted({_host(trial) for trial in trials} - {""})
    free: dict[str, list[datetime]] = {}
    found = {}
    for trial in trials:
        host = _host(trial) or (hosts[0] if len(hosts) == 1 else "unknown host")
        ends, start = free.setdefault(host, []), trial.started or now
        place = next((index for index, end in enumerate(ends) if end <= start + SLACK), len(ends))
        ends[place : place + 1] = [trial.ended or now]
        found[trial.number] = f"{shown_text(host)} #{place + 1}"
    return found


def _host(trial: TrialRow) -> str:
    """The host that ran a trial, without the process; empty if unknown."""
    host = trial.worker.rpartition(":")[0]
    return host if host != "unknown" else ""


def _group(trial: TrialRow) -> str:
    """States that share a colour."""
    return {"interrupted": "running", "waiting": "running"}.get(trial.state, trial.state)


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


def _stops(pruned: Sequence[TrialRow]) -> Spec:
    """Where trials were stopped."""
    ends = [max(trial.curve) for trial in pruned]
    values = [trial.curve[end] for trial, end in zip(pruned, ends, strict=True)]
    spec: Spec = {"type": "scatter", "mode": "markers", "name": "stopped", "x": ends, "y": values}
    return {**spec, "text": [label(trial) for trial in pruned], "hoverinfo": "text", "marker": STOPPED}


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
