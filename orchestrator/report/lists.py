"""Reads the lists that a run folder has beside the winner's result, with typed entries. Damaged lists are noted and
left out."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from orchestrator.pictures.examples import Example
from orchestrator.runs import names
from orchestrator.runs.result import Setting
from orchestrator.runs.scores import Stored, read_scores, scores_path
from orchestrator.runs.summary import Summary
from orchestrator.runs.tolerant import json_or_empty
from wsol.errors import InputError

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A post-hoc setting that the winner was scored under: its values, dotted path -> value, and metrics in percent."""

    values: dict[str, Any]
    metrics: dict[str, float]


def read_examples(summary: Summary, notes: list[str]) -> list[Example]:
    """The pictures of the winner."""
    return _checked(list(summary.examples), Example, names.EXAMPLES, notes)


def read_settings(summary: Summary, notes: list[str]) -> list[ShownSetting]:
    """The post-hoc settings that were scored by request, with all metrics; else those among which the winner's was
    chosen. All have the objective's metric."""
    metric = summary.metric
    recorded = json_or_empty(summary.folder / names.POST_HOC, list, notes)
    settings = [one for one in _checked(recorded, ShownSetting, names.POST_HOC, notes) if metric in one.metrics]
    chosen = _checked(summary.result.get("post_hoc") or [], Setting, names.WINNER_RESULT, notes)
    return settings or [ShownSetting(one.values, {metric: one.value}) for one in chosen]


def read_overlaps(summary: Summary, notes: list[str]) -> list[tuple[float, float]]:
    """Object size (percent of the image) and IoU of each image that the choice of pictures considered."""
    path = summary.folder / names.IMAGES_TABLE
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [(float(row["size_percent"]), float(row["iou"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        notes.append(_left_out(names.IMAGES_TABLE))
        return []


def read_stored(summary: Summary, notes: list[str]) -> dict[str, Stored]:
    """Split -> bootstrap replicates and curves, for the splits that were scored."""
    best, found = summary.folder / names.WINNER, {}
    for split in ("train_fullsup", "test") if summary.test else ("train_fullsup",):  # of this winner, on record
        if scores_path(best, split).is_file():
            try:
                found[split] = read_scores(best, split)
            except InputError as error:
                notes.append(f"{error}; it is left out.")
    return found


def _checked(entries: Any, entry: type[Entry], name: str, notes: list[str]) -> list[Entry]:
    try:
        return TypeAdapter(list[entry]).validate_python(entries)  # type: ignore[valid-type]
    except ValueError:
        notes.append(_left_out(name))
        return []


def _left_out(name: str) -> str:
    return f"{Path(name).name} could not be read and is left out."
