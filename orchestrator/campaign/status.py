"""`status` of a campaign: the progress of each cell. It only reads the folder, from any terminal."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from orchestrator.campaign.header import read_campaign_header
from orchestrator.experiment.load import load_experiment
from orchestrator.formats import duration
from orchestrator.report.status import ENDED, read_reruns, state_word
from orchestrator.runs import names
from orchestrator.runs.summary import Summary, read_summary

COLUMNS = ("cell", "state", "trials", "failed", "best", "again", "tested")


@dataclass(frozen=True, slots=True)
class CellStatus:
    """The progress of a cell.

    Attributes:
        name: the cell's name.
        search: the summary of its run folder; None before it begins.
        trials: number of trials of its search.
        again: the runs of its best trials with several seeds that have begun.
        reruns: how many such runs there will be.
        tested: how many of its runs have been evaluated on test.
    """

    name: str
    search: Summary | None
    trials: int
    again: list[Summary]
    reruns: int
    tested: int

    @property
    def runs(self) -> list[Summary]:
        """All runs of the cell that have begun."""
        return [*([] if self.search is None else [self.search]), *self.again]

    @property
    def left(self) -> int:
        """Number of trials that have not ended."""
        return max(
            self.trials + self.reruns - sum(trial.state in ENDED for run in self.runs for trial in run.trials), 0
        )


def read_campaign_status(folder: Path) -> list[CellStatus]:
    """The progress of all cells of a campaign, in its order."""
    header = read_campaign_header(folder)
    reruns = 0 if header.reruns is None else header.reruns.count
    return [_cell(folder / cell.name, reruns) for cell in header.cells]


def campaign_lines(folder: Path, cells: list[CellStatus]) -> Iterator[Table | str]:
    """The lines that a terminal shows for a campaign."""
    summaries = [run for cell in cells for run in cell.runs]
    is_running = any(run.state == "running" for run in summaries)
    notes = [f"{run.folder.relative_to(folder)}: {note}" for run in summaries for note in run.notes]
    ended = "damaged" if notes else "finished"
    state = ended if read_campaign_header(folder).ended else "running" if is_running else "interrupted"
    planned, left = sum(cell.trials + cell.reruns for cell in cells), sum(cell.left for cell in cells)
    tested = sum(bool(cell.tested) for cell in cells)
    yield f"{folder}: {state}; {planned - left} of {planned} trials, {tested} of {len(cells)} cells tested"
    yield from (f"note: {note}" for note in notes)
    seconds = [trial.seconds for run in summaries for trial in run.trials if trial.state in ENDED and trial.seconds]
    if seconds and left and is_running:
        at_once = max(int(run.header.concurrent_trials or 1) for run in summaries)
        pace = statistics.fmean(seconds)
        yield (
            f"a trial takes {duration(pace)} on average; ETA {duration(pace * left / at_once)}, {at_once} at a time,"
            " then winners are measured"
        )
    yield _table(cells)
    if state == "interrupted":
        yield f"nothing runs; go on with: python launch.py resume {folder}"
    yield f"a cell alone: python launch.py status {folder}/CELL"


def _cell(folder: Path, reruns: int) -> CellStatus:
    search = read_summary(folder) if (folder / names.HEADER).exists() else None
    asked = search.header.trials if search else load_experiment(folder / names.EXPERIMENT).experiment.study.trials
    again = read_reruns(folder)
    tested = sum(bool(run.evaluations) for run in (*([search] if search else []), *again))
    return CellStatus(folder.name, search, int(asked or 0), again, reruns, tested)


def _table(cells: list[CellStatus]) -> Table:
    shown = [name for name in COLUMNS if name != "again" or any(cell.reruns for cell in cells)]
    table = Table(box=None, pad_edge=False)
    for name in shown:
        table.add_column(name, justify="left" if name in ("cell", "state") else "right", overflow="fold")
    for cell in cells:
        words = _words(cell)
        table.add_row(*(words[name] for name in shown))
    return table


def _words(cell: CellStatus) -> dict[str, str]:
    trials = cell.search.trials if cell.search else ()
    best = cell.search.value if cell.search else None
    again = sum(trial.state in ENDED for run in cell.again for trial in run.trials)
    return {
        "cell": cell.name,
        "state": state_word(cell.search, cell.search.notes) if cell.search else "not begun",
        "trials": f"{sum(trial.state in ENDED for trial in trials)}/{cell.trials}",
        "failed": str(sum(trial.state == "failed" for run in cell.runs for trial in run.trials) or ""),
        "best": "" if best is None else f"{best:.2f}",
        "again": f"{again}/{cell.reruns}",
        "tested": str(cell.tested or ""),
    }
