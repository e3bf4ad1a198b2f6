"""Shows the progress of a run: a line for each epoch and each finished trial, in 80 columns, and a bar below them on a
terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from orchestrator.console import PlainConsole
from orchestrator.formats import duration

if TYPE_CHECKING:
    from orchestrator.study.interleaved import Interleaved
    from orchestrator.study.reruns import Rerun
    from wsol.checkpoint import Record


class SearchProgress:
    """Counts epochs over all trials and forecasts the end. Prints plain lines without colour codes if the output is not
    a terminal.

    Args:
        trials: how many will run now.
        epochs: epochs of each trial.
        concurrent: how many trials run at the same time.
        best: value of the best finished trial so far, on resume.
        console: where to print.
    """

    def __init__(
        self, trials: int, epochs: int, concurrent: int = 1, best: float | None = None, console: Console | None = None
    ) -> None:
        self.console = console or PlainConsole(soft_wrap=True)
        self.trials, self.epochs, self.concurrent, self.best = trials, epochs, concurrent, best
        self.finished = 0
        self._epochs_of: dict[int, int] = {}
        self._seconds: list[float] = []
        self._columns = TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[left]}")
        self._bar = Bar(*self._columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        self._task = self._bar.add_task(self._title(), total=trials * epochs, left="")

    def __enter__(self) -> SearchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def label(self, number: int) -> str:
        """The beginning of the lines about a trial."""
        return f"trial {number:>3}"

    def start(self, number: int, of: int) -> None:
        """Print that a trial begins."""
        self._say(f"{self.label(number)}  starts ({number + 1} of {of})")

    def epoch(self, number: int, record: Record) -> None:
        """Print that a trial has finished an epoch."""
        self._epochs_of[number] = int(record["epoch"])
        self._seconds.append(float(record["seconds"]))
        self._say(
            f"{self.label(number)}  epoch {int(record['epoch']):>3}/{self.epochs}  loss {record['train/loss']:.3f}  "
            f"objective {record['objective_now']:6.2f}  {self._left()}"
        )

    def complete(self, number: int, value: float) -> None:
        """Print that a trial has ended well."""
        self._end(number)
        leads = self.best is None or value > self.best
        self.best = value if self.best is None else max(value, self.best)
        text = f"done  best {value:6.2f}{'  leads' if leads else ''}  ({self.finished} of {self.trials} trials)"
        self._say(f"{self.label(number)}  {text}", "green" if leads else "")

    def prune(self, number: int, value: float) -> None:
        """Print that a trial was stopped because it fell behind."""
        self._end(number)
        self._say(f"{self.label(number)}  stopped early at {value:6.2f}  ({self.finished} of {self.trials} trials)")

    def fail(self, number: int, reason: str) -> None:
        """Print that a trial has failed."""
        self._end(number)
        self._say(f"{self.label(number)}  failed: {reason}", "red")

    def note(self, text: str) -> None:
        """Print a remark about the search as a whole, or between two epochs."""
        self._say(text, "yellow")

    def _end(self, number: int) -> None:
        self.finished += 1
        self._epochs_of[number] = self.epochs

    def _title(self) -> str:
        return f"{self.finished}/{self.trials} trials"

    def _left(self) -> str:
        """Time to the end, from the mean time of an epoch; starting and ending the trials is not included."""
        epochs = self.trials * self.epochs - sum(self._epochs_of.values())
        return (
            f"ETA {duration(sum(self._seconds) / len(self._seconds) * epochs / self.concurrent)}"
            if self._seconds
            else ""
        )

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style or None)
        self._bar.update(
            self._task, completed=sum(self._epochs_of.values()), description=self._title(), left=self._left()
        )


class ConfirmProgress(SearchProgress):
    """Shows the progress of trials that are trained again with other seeds, each beside the value by which it was
    selected.

    Args:
        reruns: run -> the trial and the seed that it trains.
        queue: tells the run of a number.
        selected: trial -> the value by which it was selected.
        epochs: epochs of each trial.
        concurrent: how many run at the same time.
        console: where to print.
    """

    def __init__(
        self,
        reruns: Mapping[str, Rerun],
        queue: Interleaved,
        selected: Mapping[int, float],
        epochs: int,
        concurrent: int,
        console: Console | None = None,
    ) -> None:
        self._reruns, self._queue, self._selected = reruns, queue, selected
        super().__init__(queue.planned, epochs, concurrent, None, console)

    def label(self, number: int) -> str:
        """The beginning of the lines about a training."""
        rerun = self._rerun(number)
        return f"trial {rerun.trial:>3} seed {rerun.seed}"

    def complete(self, number: int, value: float) -> None:
        """Print that a training has ended well."""
        self._end(number)
        before = self._selected[self._rerun(number).trial]
        self._say(f"{self.label(number)}  {value:6.2f}, {before:.2f} when selected  ({self.finished} of {self.trials})")

    def _rerun(self, number: int) -> Rerun:
        return self._reruns[self._queue.place(number)[0]]
