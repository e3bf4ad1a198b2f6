"""`compare`: runs side by side on one split, each number with its interval, its paired difference from the first row,
and the published number. `tables.py` formats the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.comparison.cell import Cell, Measurement, cell
from orchestrator.comparison.differences import differences
from orchestrator.comparison.published import published_row
from orchestrator.experiment.paths import Values
from orchestrator.formats import method_label
from orchestrator.runs import names
from orchestrator.runs.result import STOCK
from orchestrator.runs.scores import Stored, read_scores
from orchestrator.runs.summary import Summary, read_summary
from wsol.errors import InputError
from wsol.files import is_file
from wsol.schema import CHANGES_NO_NUMBER

Run = tuple[Summary, Stored]


@dataclass(frozen=True, slots=True)
class Row:
    """One run, or several that differ only in their seed.

    Attributes:
        name: the name of the run, or of the first of several.
        method, backbone, dataset: plugin names; that of the method includes its base.
        cells: metric -> number.
        seeds: the seeds that the runs trained with.
        differs: the settings that distinguish its configuration from those of other rows; see `differences`.
        uses_boxes: whether it was trained on boxes or masks.
        imported: where weights are from that were not trained here; empty for those that were.
    """

    name: str
    method: str
    backbone: str
    dataset: str
    cells: dict[str, Cell]
    seeds: tuple[int, ...] = (0,)
    differs: tuple[str, ...] = ()
    uses_boxes: bool = False
    imported: str = ""

    @property
    def label(self) -> str:
        """The method, and that it was trained on boxes, or not here."""
        notes = ", ".join(filter(None, ["boxes" if self.uses_boxes else "", self.imported]))
        return f"{self.method} ({notes})" if notes else self.method


def comparison_rows(folders: Sequence[Path], metrics: Sequence[str], split: str) -> list[Row]:
    """Compare finished runs: the winners of searches, or single trainings. Runs with the same configuration and
    different seeds form one row.

    Args:
        folders: the run folders; the others are compared with the row of the first.
        metrics: keys of their metrics, such as `max_box_acc_v2` or `max_box_acc_by_size/small`.
        split: `test` or `train_fullsup`.

    Raises:
        InputError: a run has no such number, its result is damaged, or the runs were scored on different images, map
            sizes or thresholds, or with different settings of a metric.
    """
    runs = [(read_summary(folder), read_scores(folder / names.WINNER, split)) for folder in folders]
    for run in runs:
        _require_comparable(run, runs[0], metrics, split)
    groups = _by_configuration(runs)
    differs = differences([group[0][0].result["config"] for group in groups])
    return [
        replace(_row(group, groups[0], metrics, split), differs=own) for group, own in zip(groups, differs, strict=True)
    ]


def _row(group: list[Run], first: list[Run], metrics: Sequence[str], split: str) -> Row:
    cells = {metric: _cell(group, first, metric, split) for metric in metrics}
    return row([summary for summary, _ in group], group[0][0].folder.resolve().name, cells)


def row(runs: Sequence[Summary], name: str, cells: dict[str, Cell]) -> Row:
    """A row of a run, or of several that differ only in their seed, under a name."""
    backbone = _config(runs[0], "backbone")
    return Row(
        name=name,
        method=method_label(_config(runs[0], "method")),
        backbone=str(backbone.get("model") or backbone.get("name", "")),
        dataset=str(_config(runs[0], "data").get("name", "")),
        cells=cells,
        seeds=tuple(map(_seed, runs)),
        uses_boxes=runs[0].uses_boxes,
        imported=_imported(runs[0]),
    )


def require_seeds_of_one_configuration(runs: Sequence[Summary]) -> None:
    """Raise InputError unless runs differ only in their seed, and each has a different one."""
    for summary in runs:
        _require_configuration(summary)
    for place, summary in enumerate(runs):
        if _recipe(summary.result) != _recipe(runs[0].result):
            raise InputError(
                f"{summary.folder}: differs from {runs[0].folder} in more than its seed; give one at a time"
            )
        if _seed(summary) in map(_seed, runs[:place]):
            raise InputError(f"{summary.folder}: has the seed of another of the runs, {_seed(summary)}")


def _cell(group: list[Run], first: list[Run], metric: str, split: str) -> Cell:
    summary = group[0][0]
    return cell(
        metric,
        _measured(group, metric, split),
        None if group is first else _measured(first, metric, split),
        summary.metrics(split, baseline=True).get(metric),
        None if split != "test" or _is_stock(summary) else published_row(summary.result["config"], metric),
    )


def _measured(group: list[Run], metric: str, split: str) -> list[Measurement]:
    return [(summary.metrics(split)[metric], stored.replicates[metric]) for summary, stored in group]


def _by_configuration(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups of runs whose configurations differ only in the seed, in the order of their first runs; a repeated seed
    begins another group."""
    groups: list[list[Run]] = []
    for run in runs:
        recipe = _recipe(run[0].result)
        alike = (
            group
            for group in groups
            if _recipe(group[0][0].result) == recipe and _seed(run[0]) not in [_seed(summary) for summary, _ in group]
        )
        group = next(alike, None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return groups


def _recipe(result: Mapping[str, Any], later: frozenset[Path] = frozenset()) -> Values:
    """What a run was made of: its configuration without its seed and without settings that change no number. The folder
    of the run that it starts from is replaced by that run's recipe, unless that is one of the `later` runs, which start
    from this one. Imported weights are the same with any seed, so theirs is not left out."""
    config, imported = result["config"], _source(result)
    data = {name: value for name, value in config["data"].items() if f"data.{name}" not in CHANGES_NO_NUMBER}
    start = Path(str(config.get("initial_run")))
    begun = None if start in later else _recorded_result(start)
    initial = config.get("initial_run") if begun is None else _recipe(begun, later | {start})
    weights = {name: value for name, value in imported.items() if name != "file"}
    seed = config["seed"] if imported else None
    return {**config, "seed": seed, "data": data, "initial_run": initial, "imported": weights}


def _source(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Layout, file and SHA-256 of imported weights; empty for a run that was trained here."""
    source = result.get("imported")
    return source if isinstance(source, Mapping) else {}


def _imported(summary: Summary) -> str:
    """Where imported weights are from, in words; empty for a run that was trained here."""
    source = _source(summary.result)
    if not source:
        return ""
    return "stock, not trained" if _is_stock(summary) else f"imported {Path(str(source.get('file'))).name}"


def _is_stock(summary: Summary) -> bool:
    """Whether it is a network as it was published for classification, of which no paper has a number."""
    return _source(summary.result).get("layout") == STOCK


def _recorded_result(folder: Path) -> Mapping[str, Any] | None:
    """The winner's result in a run folder; None if there is none with a configuration or it cannot be read."""
    path = folder / names.WINNER_RESULT
    try:
        result = json.loads(path.read_text(encoding="utf-8")) if is_file(path) else None
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and _is_configuration(result.get("config")) else None


def _is_configuration(config: object) -> bool:
    return (
        isinstance(config, dict)
        and isinstance(config.get("seed"), int)
        and all(isinstance(config.get(section), dict) for section in ("data", "method", "backbone", "evaluation"))
    )


def _seed(summary: Summary) -> int:
    return int(summary.result["config"]["seed"])


def _require_comparable(run: Run, first: Run, metrics: Sequence[str], split: str) -> None:
    summary, stored = run
    _require_configuration(summary)
    for what, own, wanted in zip(
        ("images", "map sizes", "score thresholds"), _basis(*run), _basis(*first), strict=True
    ):
        if own != wanted:
            raise InputError(
                f"{summary.folder}: was scored on other {what} of {split} than {first[0].folder}; only runs on the same"
                " images, at the same size and thresholds, can be compared"
            )
    values = summary.metrics(split)
    for metric in metrics:
        if metric not in values or metric not in stored.replicates:
            raise InputError(
                f"{summary.folder}: has no {metric!r} on {split}; it has {', '.join(sorted(values)) or 'nothing yet'}"
            )
        if other := _other_settings(_metrics(summary), _metrics(first[0]), metric):
            raise InputError(
                f"{summary.folder}: {metric} was counted with other settings of {other} than in {first[0].folder}"
            )


def _require_configuration(summary: Summary) -> None:
    if not _is_configuration(summary.result.get("config")):
        raise InputError(
            f"{summary.folder / names.WINNER_RESULT}: is missing or damaged, it has no configuration of the winner;"
            " restore it from a copy"
        )


def _basis(summary: Summary, stored: Stored) -> tuple[Any, ...]:
    return stored.images, _config(summary, "data").get("image_size"), stored.threshold_step


def _other_settings(own: Mapping[str, Any], wanted: Mapping[str, Any], metric: str) -> str:
    """The plugin of a metric whose settings differ; a key that names no plugin may belong to any."""
    name = metric.partition("/")[0]
    makers = [name] if name in own else list(own)
    return next((maker for maker in makers if maker in wanted and own[maker] != wanted[maker]), "")


def _metrics(summary: Summary) -> Values:
    evaluation = _config(summary, "evaluation")
    return {metric["name"]: metric for part in ("metrics", "test_metrics") for metric in evaluation.get(part, [])}


def _config(summary: Summary, section: str) -> Values:
    config: Values = (summary.result.get("config") or {}).get(section) or {}
    return config
