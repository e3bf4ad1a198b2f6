"""Shows the progress of a campaign: a line for every trial that ends, and a bar on a terminal."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from orchestrator.formats import duration
from orchestrator.trials.progress import SearchProgress

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.study.interleaved import Interleaved
    from wsol.checkpoint import Record


class CampaignProgress(SearchProgress):
    """Counts trials over all cells and forecasts the end from the mean time of a trial. All cells progress together, so
    the mean is representative.

    Args:
        queue: tells which cell a trial belongs to.
        concurrent: how many trials run at the same time.
        console: where to print.
    """

    def __init__(self, queue: Interleaved, concurrent: int, console: Console) -> None:
        self._queue, self._started, self._best = queue, dict[int, float](), dict[str, float]()
        super().__init__(queue.planned, 1, concurrent, None, console)

    def label(self, number: int) -> str:
        """The beginning of the lines about a trial."""
        return "{} #{}".format(*self._queue.place(number))

    def start(self, number: int, of: int) -> None:
        """Note that a trial begins."""
        self._started[number] = time.perf_counter()

    def epoch(self, number: int, record: Record) -> None:
        """Does nothing: a campaign has too many epochs to show them all."""

    def complete(self, number: int, value: float) -> None:
        """Print that a trial has ended well."""
        cell = self._queue.place(number)[0]
        leads = cell in self._best and value > self._best[cell]
        self._best[cell] = max(value, self._best.get(cell, value))
        self._tell(number, f"{value:6.2f}{'  leads' if leads else ''}", "green" if leads else "")

    def prune(self, number: int, value: float) -> None:
        """Print that a trial was stopped because it fell behind."""
        self._tell(number, f"{value:6.2f}  stopped early")

    def fail(self, number: int, reason: str) -> None:
        """Print that a trial has failed."""
        self._tell(number, f"failed: {reason}", "red")

    def _tell(self, number: int, text: str, style: str = "") -> None:
        self._end(number)
        self._seconds.append(time.perf_counter() - self._started.pop(number))
        self._say(f"{self.label(number)}  {text}  ({self.finished}/{self.trials}, {self._left()})", style)

    def _left(self) -> str:
        if not self._seconds:
            return ""
        rounds = (self.trials - self.finished) / self.concurrent
        return f"ETA {duration(statistics.fmean(self._seconds) * rounds)}"
