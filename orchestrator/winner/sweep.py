"""Scores many post-hoc settings of finished runs side by side, with intervals; nothing is chosen.

The runs are seeds of one configuration. Each setting becomes one row; the first row shows the runs as they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.cell import Cell, Measurement, cell
from orchestrator.comparison.rows import Row, require_seeds_of_one_configuration, row
from orchestrator.console import console
from orchestrator.formats import duration, settings_in_words
from orchestrator.runs.looks import SWEEP
from orchestrator.runs.result import read_result
from orchestrator.runs.summary import Summary, read_summary
from orchestrator.runs.tested import record_look
from orchestrator.winner.exported import Exported, open_exported
from wsol.errors import InputError, counted

if TYPE_CHECKING:
    from orchestrator.experiment.paths import Values
    from wsol.scoring import Scores


def sweep(folders: Sequence[Path], post_hoc: Mapping[str, list[Any]], metrics: Sequence[str], split: str) -> list[Row]:
    """Score finished runs under every combination of post-hoc values. A look at test is recorded in each run before it
    begins.

    Args:
        folders: the folders of runs that differ in their seed only.
        post_hoc: dotted path -> values.
        metrics: keys, such as `max_box_acc_v2`.
        split: `train_fullsup` or `test`.

    Raises:
        InputError: the runs differ in more than their seed, one is not finished, or has no such metric.
    """
    runs = [read_summary(folder) for folder in folders]
    require_seeds_of_one_configuration(runs)
    for summary in runs:
        _require_metrics(summary, metrics)
    winners = [open_exported(folder, split) for folder in folders]
    swept = [_swept(folder, winner, post_hoc, split) for folder, winner in zip(folders, winners, strict=True)]
    settings = [values for values, _ in swept[0]]
    scores = [[one[place][1] for one in swept] for place in range(len(settings))]
    baseline = winners[0].center_gaussian(winners[0].config)

    def cells(place: int) -> dict[str, Cell]:
        return {
            metric: cell(
                metric, _of(scores[place], metric), _of(scores[0], metric) if place else None, baseline.get(metric)
            )
            for metric in metrics
        }

    return [row(runs, settings_in_words(values), cells(place)) for place, values in enumerate(settings)]


def _swept(
    folder: Path, winner: Exported, post_hoc: Mapping[str, list[Any]], split: str
) -> list[tuple[Values, Scores]]:
    """Score one run under all settings, and print how long it took."""
    if split == "test":
        record_look(folder, read_result(folder).checkpoint_sha256, "a sweep of post-hoc settings", SWEEP)
    begun = time.monotonic()
    found = winner.sweep(post_hoc)
    work = f"{counted(len(found), 'setting')} on {counted(len(winner.images), 'image')} of {split}"
    console.print(f"{folder}: {work} in {duration(time.monotonic() - begun)}")
    return found


def _require_metrics(summary: Summary, metrics: Sequence[str]) -> None:
    known = summary.metrics("train_fullsup")
    if missing := [metric for metric in metrics if metric not in known]:
        raise InputError(f"{summary.folder}: has no {missing[0]!r}; it has {', '.join(sorted(known))}")


def _of(scores: Sequence[Scores], metric: str) -> list[Measurement]:
    return [(one.metrics[metric], one.replicates[metric]) for one in scores]
