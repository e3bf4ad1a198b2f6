"""Shared by all figures of the report: the type of a figure, its colours, labels and groups of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.formats import plain_text
from orchestrator.runs.summary import TrialRow

Spec = dict[str, Any]


COLORS = {
    "complete": "var(--complete)",
    "pruned": "var(--pruned)",
    "failed": "var(--failed)",
    "running": "var(--running)",
}
STOPPED = {"color": COLORS["pruned"], "size": 7, "symbol": "x-thin", "line": {"color": COLORS["pruned"], "width": 2}}
"""The cross that marks where a scheduler stopped a trial."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the page.

    Attributes:
        key: the figure's id in the page.
        title: what the figure shows.
        caption: says which trials it uses.
        spec: Plotly `data` and `layout`.
        min_width: pixels below which the figure scrolls sideways; 0: it always fits.
    """

    key: str
    title: str
    caption: str
    spec: Spec
    min_width: int = 0


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


def shown_text(text: str) -> str:
    """Text that Plotly shows as it is: it would read `<` and `&` as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def titled(text: str) -> Spec:
    """The title of an axis."""
    return {"title": {"text": shown_text(text)}}


def whole_axis(title: str, largest: int) -> Spec:
    """An axis of whole numbers; without this, a short one would get ticks at halves."""
    return {"title": {"text": title}, "tickformat": "d"} | ({"dtick": 1} if largest < 8 else {})


def complete_trials(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials that ended well, with a value."""
    return [trial for trial in trials if trial.state == "complete" and trial.value is not None]


def states(trials: Sequence[TrialRow]) -> str:
    """`12 complete and 2 pruned trials`."""
    states = list(dict.fromkeys(trial.state for trial in trials))
    parts = [f"{sum(trial.state == state for trial in trials)} {state}" for state in states]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"{text} {'trial' if len(trials) == 1 else 'trials'}" if trials else "No trial"


def label(trial: TrialRow) -> str:
    """The text of a trial's hover box."""
    value = "no value" if trial.value is None else f"{trial.value:.2f}"
    lines = [
        f"trial {trial.number}, {trial.state}: {value}",
        *(f"{name} = {plain_text(value)}" for name, value in trial.params.items()),
    ]
    return "<br>".join(map(shown_text, lines[:16]))


def point_traces(state: str, trials: Sequence[TrialRow], values: Sequence[float | None]) -> Spec:
    marker = {
        "color": COLORS[state],
        "size": 8,
        "symbol": {"complete": "circle", "failed": "x"}.get(state, "circle-open"),
    }
    numbers, labels = [trial.number for trial in trials], [label(trial) for trial in trials]
    spec = {"type": "scatter", "mode": "markers", "name": state, "x": numbers, "y": list(values)}
    return {**spec, "text": labels, "hoverinfo": "text", "marker": marker}


def line_traces(state: str, trials: Sequence[TrialRow]) -> Spec:
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
