"""`report`: writes one HTML file about a search, whatever state it is in. The file opens from disk and loads nothing
from the network."""

from __future__ import annotations

import base64
import functools
import gzip
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.formats import metric_label, short_reason
from orchestrator.pictures.examples import Example
from orchestrator.report.figure import Figure, short_names
from orchestrator.report.figures_effort import Search, effort_figure
from orchestrator.report.figures_space import contour_figure, fronts_figure, parallel_figure, slices_figure
from orchestrator.report.figures_trials import curves_figure, history_figure, timeline_figure
from orchestrator.report.figures_winner import precision_recall_figure, sizes_figure, thresholds_figure
from orchestrator.report.html import embedded, template
from orchestrator.report.importance import importance
from orchestrator.report.lists import read_examples, read_overlaps, read_settings, read_stored
from orchestrator.report.winner import (
    confirmation,
    pixel_curves,
    setting_rows,
    size_bars,
    split_lines,
    stability,
    threshold_curves,
)
from orchestrator.report.yardsticks import yardsticks
from orchestrator.runs import names
from orchestrator.runs.result import training_note
from orchestrator.runs.summary import Summary, read_summary
from wsol.errors import InputError
from wsol.files import is_file, write_text

PICTURE_BYTES = 3_500_000


TABS = {
    "hits": "Hits",
    "misses": "Misses",
    "small": "Small objects",
    "disagreements": "Largest disagreements",
    "sizes": "Small to large",
}


def write_report(folder: Path, beside: Sequence[Path] = ()) -> Path:
    """Write `report.html` into a run folder, in one step: a reader sees either the old page or the new one.

    Args:
        folder: the folder of a running, interrupted or finished search, or a copy of one.
        beside: run folders of other searches for the same objective, drawn into the figure of the best value by epochs
            trained.

    Returns:
        The path of the page.

    Raises:
        InputError: a folder holds no search, or one for another objective.
        OSError: the page cannot be written.
    """
    path = folder / names.REPORT
    summary, others = read_summary(folder), [read_summary(other) for other in beside]
    for other in others:
        if other.objective != summary.objective:
            raise InputError(
                f"{other.folder}: searched for {other.objective}, {folder} for {summary.objective}; only one objective"
                " can be compared"
            )
    write_text(path, _render(summary, others))
    return path


def _render(summary: Summary, others: Sequence[Summary]) -> str:
    notes = list(summary.notes)
    shares = importance(summary.study)
    order = [
        *(path for path in shares if path in summary.params),
        *(path for path in summary.params if path not in shares),
    ]
    examples = read_examples(summary, notes)
    columns, settings = setting_rows(summary, read_settings(summary, notes))
    drawn = _figures(summary, others, order, notes)
    shown = _pictures(summary, examples)
    reasons = Counter(short_reason(trial.failure) for trial in summary.trials if trial.state == "failed")
    return template("report.html.j2").render(
        summary=summary,
        notes=notes,
        training_note=training_note(str(summary.result.get("training_images", "all")), uses_boxes=summary.uses_boxes),
        yardsticks=yardsticks(summary),
        counts=Counter(trial.state for trial in summary.trials),
        failures=reasons.most_common(3),
        splits=[split for split in (split_lines(summary, name) for name in ("train_fullsup", "test")) if split.lines],
        stability=stability(summary),
        confirmation=confirmation(summary, notes),
        setting_columns=columns,
        settings=settings,
        shares=shares,
        names=short_names(summary.params),
        slices=[figure for figure in drawn if figure.key.startswith("slice-")],
        fronts=[figure for figure in drawn if figure.key.startswith("front-")],
        figures={figure.key: figure for figure in drawn},
        specs={figure.key: _finite(figure.spec) for figure in drawn},
        plotly=_plotly() if drawn else "",
        examples=shown,
        all_examples=len(examples),
        tabs=[(tab, title) for tab, title in TABS.items() if any(tab in example.tabs for example in shown)],
        hosts=sorted({trial.worker.rpartition(":")[0] for trial in summary.trials} - {"", "unknown"}),
        seeds=_seeds(summary),
        used=_used(summary),
        commands=_commands(summary),
        now=datetime.now(UTC),
    )


def _figures(summary: Summary, others: Sequence[Summary], order: Sequence[str], notes: list[str]) -> list[Figure]:
    trials, objective = summary.trials, metric_label(summary.objective)
    winner = summary.best.number if summary.best else None
    labels = [metric_label(name) for name in summary.objectives]
    scored = read_stored(summary, notes)
    of_many = [
        history_figure(trials, objective, summary.maximize),
        effort_figure([_search(of) for of in (summary, *others)], objective, summary.maximize),
        timeline_figure(trials, datetime.now(UTC) if summary.state == "running" else summary.updated),
    ]
    drawn = [
        *(of_many if not summary.is_single else ()),
        curves_figure(trials, winner, objective, summary.header.scheduler),
        *fronts_figure(trials, summary.objectives, labels),
        thresholds_figure(threshold_curves(summary, scored), lambda curve: metric_label(curve).rpartition(", ")[2]),
        sizes_figure(*size_bars(summary, read_overlaps(summary, notes))),
        precision_recall_figure(pixel_curves(scored)),
        parallel_figure(trials, order, summary.log_params, objective),
        contour_figure(summary.study, order, objective),
        *slices_figure(trials, order, summary.log_params, winner, objective),
    ]
    return [figure for figure in drawn if figure is not None]


def _finite(spec: Any) -> Any:
    """Plain values, with None for numbers that are not finite, which JSON cannot hold."""
    if isinstance(spec, dict):
        return {key: _finite(value) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [_finite(value) for value in spec]
    return None if isinstance(spec, float) and not math.isfinite(spec) else spec


def _search(summary: Summary) -> Search:
    scheduler = summary.header.scheduler or "none"
    way = summary.header.sampler + (f" + {scheduler}" if scheduler != "none" else "")
    return Search(summary.folder.resolve().name, way, summary.trials)


def _pictures(summary: Summary, examples: Sequence[Example]) -> list[Example]:
    """The examples with their pictures in place of file names, as many as fit; examples with missing files are left
    out."""
    home, left, shown = (summary.folder / names.WINNER).resolve(), PICTURE_BYTES, []
    for example in examples:
        files = [(home / name).resolve() for name in example.files]
        if not all(is_file(file) and file.is_relative_to(home) for file in files):
            continue
        left -= sum(file.stat().st_size for file in files)
        if left < 0:
            break
        shown.append(example.with_files([embedded(file) for file in files]))
    return shown


def _seeds(summary: Summary) -> list[int]:
    """The seeds that trials trained with: the experiment's seed, unless it was searched."""
    tried = sorted({int(trial.params["seed"]) for trial in summary.trials if "seed" in trial.params})
    own = (summary.result.get("config") or {}).get("seed")
    return tried or ([] if own is None else [int(own)])


def _used(summary: Summary) -> float | None:
    """The share of time in which places ran trials; the rest went into starting, waiting, and measuring the winner.
    None if unknown."""
    trained = sum(trial.seconds or 0.0 for trial in summary.trials)
    offered = (summary.seconds or 0.0) * (summary.header.concurrent_trials or 1)
    return trained / offered if 0 < trained <= offered else None


@functools.cache
def _plotly() -> str:
    """Plotly's script, compressed to a third of its size; the page unpacks it."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode()


def _commands(summary: Summary) -> list[tuple[str, str]]:
    """Shell commands with what they do, for the state the search is in."""
    home = summary.folder.resolve()
    run, commit = shlex.quote(f"{home.parent.name}/{home.name}"), (summary.header.git or {}).get("commit")
    steps = [("python launch.py resume " + run, "continue it")] if summary.state == "interrupted" else []
    if commit:
        steps.append((f"git checkout {commit}", "the code that ran"))
        if (home / names.CHANGES).is_file():
            steps.append((f"git apply {run}/{names.CHANGES}", "with what was changed since that commit"))
    if summary.header.command:
        steps.append((summary.header.command, "the training" if summary.is_single else "the whole search"))
    if (home / names.WINNER_EXPERIMENT).is_file() and not summary.is_single:
        steps.append((f"python launch.py train {run}/{names.WINNER_EXPERIMENT}", "only the winner"))
    return (
        [*steps, (f"python launch.py evaluate {run}", "score the winner's checkpoint again")]
        if summary.result
        else steps
    )
