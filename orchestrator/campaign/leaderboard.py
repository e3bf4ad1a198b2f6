"""The leaderboard of a campaign: the methods of each data set and backbone side by side on test, for the terminal,
`leaderboard.md` and `.html`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from orchestrator.campaign.leaderboard_page import Board, Group, leaderboard_page
from orchestrator.comparison.cell import interval_of_mean
from orchestrator.comparison.rows import Row, comparison_rows
from orchestrator.comparison.tables import FORMATS, comparison_table
from orchestrator.formats import markdown_text
from orchestrator.runs import names
from orchestrator.runs.result import read_result
from orchestrator.runs.tested import recorded_tests
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    from orchestrator.campaign.model import CampaignCell, Planned


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing of a cell.

    Attributes:
        cell: the cell.
        folders: the folders of its tested runs: its search, or the seeds of its winner; empty while none is tested.
        failure: why none will be tested; else empty.
    """

    cell: CampaignCell
    folders: list[Path]
    failure: str = ""

    @property
    def metric(self) -> str:
        """Name of the metric that selected the winner."""
        return self.cell.experiment.study.objectives[0].partition("/")[2]

    def values(self) -> list[float]:
        """The values of its runs in that metric on test."""
        return [float(recorded_tests(folder)[0].metrics[self.metric]) for folder in self.folders]


def group_table(standings: Sequence[Standing], of: CampaignCell) -> Table | str:
    """A table of the methods tested so far with the backbone and data set of a cell, for the terminal."""
    group = _group(standings, of)
    rows = _rows(group)
    return rows if isinstance(rows, str) else comparison_table(rows, group[0].metric, "test")


def write_leaderboard(folder: Path, planned: Planned, standings: Sequence[Standing]) -> None:
    """Write `leaderboard.md` and `leaderboard.html`: an overview, then a table for each data set and backbone, of what
    is tested so far."""
    board = _board(planned, standings)
    write_text(folder / names.LEADERBOARD_TEXT, _markdown(board))
    write_text(folder / names.LEADERBOARD, leaderboard_page(board))


def _board(planned: Planned, standings: Sequence[Standing]) -> Board:
    tested = sum(bool(standing.folders) for standing in standings)
    return Board(
        planned.name,
        [f"{tested} of {len(standings)} cells are tested. {_rules(planned)}", *_remarks(standings)],
        [f"{standing.cell.name}: {standing.failure}" for standing in standings if standing.failure],
        {
            dataset: _overview([one for one in standings if one.cell.dataset == dataset])
            for dataset in _axis(standings, "dataset")
        },
        [_described(group) for group in _groups(standings)],
    )


def _described(group: Sequence[Standing]) -> Group:
    first, runs = group[0], {standing.cell.method: standing.folders[0] for standing in group}
    return Group(first.cell.dataset, first.cell.backbone, first.metric, _rows(group), runs)


def _markdown(board: Board) -> str:
    parts = [f"# Leaderboard of {markdown_text(board.name)}", *board.about, *map(markdown_text, board.failures)]
    for dataset, (heads, *lines) in board.overviews.items():
        table = [heads, ["---"] * len(heads), *lines]
        parts += [f"## {dataset}", "\n".join(f"| {' | '.join(line)} |" for line in table)]
    for group in board.groups:
        rows = markdown_text(group.rows) if isinstance(group.rows, str) else FORMATS["markdown"](group.rows)
        parts += [f"### {group.dataset}, {group.backbone}: {group.metric}", rows]
    return "\n\n".join(parts) + "\n"


def _rules(planned: Planned) -> str:
    """The rules by which all cells were compared, in words."""
    study, training = planned.cells[0].experiment.study, planned.cells[0].experiment.trial.training
    stopped = "none stopped early" if study.scheduler == "none" else f"some stopped early by {study.scheduler}"
    text = (
        f"{study.trials} trials each ({study.sampler}, {stopped}), selected on train_fullsup by the"
        f" {training.checkpoint} epoch, tested once."
    )
    if planned.reruns is None:
        return text
    seeds = f"with seeds {', '.join(map(str, planned.reruns.seeds))}"
    return (
        f"{text} The best {planned.reruns.top} of each cell were trained again {seeds}; the highest mean on"
        " train_fullsup was tested."
    )


def _remarks(standings: Sequence[Standing]) -> Iterator[str]:
    """Remarks on the numbers: the methods that were trained on a short list of images, or on boxes."""
    notes: dict[str, list[str]] = {}
    for standing in standings:
        for note in {read_result(folder).training_note for folder in standing.folders} - {""}:
            notes.setdefault(note, []).append(standing.cell.name)
    yield from (f"{note[0].upper()}{note[1:]} ({', '.join(methods)})." for note, methods in notes.items())


def _overview(standings: Sequence[Standing]) -> list[list[str]]:
    """Methods x backbones: means over seeds with their 95 % interval, or with both values if there are two seeds."""
    backbones, cells = _axis(standings, "backbone"), {(one.cell.method, one.cell.backbone): one for one in standings}
    lines = [["method", *backbones]]
    for method in _axis(standings, "method"):
        lines.append([method, *(_in_words(cells[method, backbone]) for backbone in backbones)])
    return lines


def _in_words(standing: Standing) -> str:
    values = standing.values()
    if not values:
        return "failed" if standing.failure else ""
    mean, bounds = statistics.fmean(values), interval_of_mean(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    spread = f"{bounds[0]:.1f} to {bounds[1]:.1f}" if bounds else ", ".join(f"{value:.1f}" for value in values)
    return f"{mean:.1f} ({len(values)} seeds: {spread})"


def _axis(standings: Sequence[Standing], name: str) -> list[str]:
    return list(dict.fromkeys(getattr(standing.cell, name) for standing in standings))


def _groups(standings: Sequence[Standing]) -> list[list[Standing]]:
    groups = [_group(standings, one.cell) for one in standings]
    return [group for index, group in enumerate(groups) if group and group not in groups[:index]]


def _group(standings: Sequence[Standing], of: CampaignCell) -> list[Standing]:
    return [
        one for one in standings if (one.cell.dataset, one.cell.backbone) == (of.dataset, of.backbone) and one.folders
    ]


def _rows(group: Sequence[Standing]) -> list[Row] | str:
    """The rows of `compare`, with methods that were trained on boxes next to the centre Gaussian, after all others but
    the first; or the reason if the runs cannot be compared."""
    try:
        rows = comparison_rows([folder for standing in group for folder in standing.folders], [group[0].metric], "test")
    except InputError as error:
        return f"not comparable: {error}"
    return [rows[0], *sorted(rows[1:], key=lambda row: row.uses_boxes)]
