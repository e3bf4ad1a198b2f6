"""What the trials of a search cost: the best value over the epochs that were spent on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.report.figure import STOPPED, Figure, Spec, label, shown_text, titled, whole_axis
from orchestrator.runs.summary import TrialRow
from wsol.errors import counted


@dataclass(frozen=True, slots=True)
class Search:
    """The trials of one search.

    Attributes:
        name: the run's name.
        way: sampler and scheduler, such as `tpe + asha`; searches with the same ones share a colour.
        trials: all trials, ordered by number.
    """

    name: str
    way: str
    trials: Sequence[TrialRow]


def effort_figure(searches: Sequence[Search], objective: str, maximize: bool) -> Figure | None:
    """The best complete trial so far over the total number of epochs of all trials, a line for each search.

    A single search whose trials all ran to their end is not drawn, because `history` shows the same.
    """
    better = max if maximize else min
    ends = [_ends(search, better) for search in searches]
    lines = [_effort_line(search, found) for search, found in zip(searches, ends, strict=True)]
    lines = [line for line in lines if line["x"]]
    stopped = [end for found in ends for end in found if end.trial.state == "pruned"]
    if not lines or (len(searches) == 1 and not stopped):
        return None
    ways = list(dict.fromkeys(search.way for search in searches))
    palette = ("var(--best)", "var(--complete)", "var(--running)", "var(--pruned)", "var(--failed)")
    colors = dict(zip(ways, itertools.cycle(palette), strict=False))
    for line in lines:
        line["line"] = {"color": colors[line.pop("way")], "width": 2.5 if line is lines[0] else 1.5, "shape": "hv"}
    largest = max(max(line["x"]) for line in lines)
    layout = {"xaxis": whole_axis("epochs trained", largest), "yaxis": titled(objective), "height": 340}
    caption = "The best complete trial so far, by the epochs of all trials that had ended, stopped and failed ones too."
    own = [] if len(searches) > 1 else _events(ends[0])
    if own:
        caption += f" {_events_in_words(ends[0])}"
    return Figure("effort", "Best value by epochs trained", caption, {"data": [*lines, *own], "layout": layout})


@dataclass(frozen=True, slots=True)
class _End:
    """A trial that has ended: the epochs that all trials until then have spent, the best value so far, and whether it
    is this trial's."""

    trial: TrialRow
    spent: int
    best: float | None
    leads: bool


def _ends(search: Search, better: Callable[[float, float], float]) -> list[_End]:
    """The ends of all trials in time."""
    ended = sorted((trial for trial in search.trials if trial.ended), key=lambda trial: (trial.ended, trial.number))
    spent, best, found = 0, None, list[_End]()
    for trial in ended:
        spent += max(trial.curve, default=trial.epochs or 0)
        leads = False
        if trial.state == "complete" and trial.value is not None:
            leads = best is None or better(best, trial.value) != best
            best = trial.value if leads else best
        found.append(_End(trial, spent, best, leads))
    return found


def _effort_line(search: Search, ends: Sequence[_End]) -> Spec:
    """Epochs and best value whenever a trial ended, from the first complete one on."""
    name = shown_text(f"{search.name} ({search.way})")
    shown = [(end.spent, end.best) for end in ends if end.best is not None]
    spec: Spec = {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [spent for spent, _ in shown],
        "y": [best for _, best in shown],
        "text": [f"{name}: {best:.2f} after {spent} epochs" for spent, best in shown],
        "hoverinfo": "text",
    }
    return {**spec, "way": search.way}


def _events(ends: Sequence[_End]) -> list[Spec]:
    """On the line of a search: where the leader changed, and where a trial was stopped."""
    leads = [end for end in ends if end.leads]
    stops = [end for end in ends if end.trial.state == "pruned" and end.best is not None]
    return [
        _points("new leader", leads, {"color": "var(--best)", "size": 8}),
        *([_points("stopped", stops, STOPPED)] if stops else []),
    ]


def _points(name: str, ends: Sequence[_End], marker: Spec) -> Spec:
    spec: Spec = {"type": "scatter", "mode": "markers", "name": name, "marker": marker, "hoverinfo": "text"}
    text = [f"{label(end.trial)}<br>after {counted(end.spent, 'epoch')} in all" for end in ends]
    return {**spec, "x": [end.spent for end in ends], "y": [end.best for end in ends], "text": text}


def _events_in_words(ends: Sequence[_End]) -> str:
    """`960 epochs trained, 12 trials stopped (a cross each), 3 leaders (a point each): the last one, ...`."""
    stops, leads = [end for end in ends if end.trial.state == "pruned"], [end for end in ends if end.leads]
    return (
        f"{counted(ends[-1].spent, 'epoch')} trained, {counted(len(stops), 'trial')} stopped (a cross each),"
        f" {counted(len(leads), 'leader')} (a point each): the last one, trial {leads[-1].trial.number}, after"
        f" {counted(leads[-1].spent, 'epoch')}."
    )
