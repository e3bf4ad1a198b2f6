"""What a user sees while a search runs: a line per epoch and per finished trial, in 80 columns, without colour codes in a file."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console


class Progress:
    """Counts epochs over all trials and forecasts the end.

    Args:
        trials: how many will run now.
        epochs: of each.
        best: value of the best finished trial so far, on resume.
        console: where to print.
    """

    def __init__(self, trials: int, epochs: int, best: float | None = None, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.trials, self.epochs, self.best = trials, epochs, best
        self.finished = 0
        self._epochs_of: dict[int, int] = {}
        self._began = time.perf_counter()

    def start(self, number: int, of: int) -> None:
        """A trial begins."""
        self._say(f"trial {number:>3}  starts ({number + 1} of {of})")

    def epoch(self, number: int, record: dict[str, Any]) -> None:
        """A trial has finished an epoch."""
        self._epochs_of[number] = int(record["epoch"])
        self._say(
            f"trial {number:>3}  epoch {int(record['epoch']):>3}/{self.epochs}  loss {record['train/loss']:.3f}  "
            f"objective {record['objective_now']:6.2f}  {self._eta()}"
        )

    def complete(self, number: int, value: float) -> None:
        """A trial has ended well."""
        self._end(number)
        leads = self.best is None or value > self.best
        self.best = value if leads or self.best is None else self.best
        self._say(f"trial {number:>3}  done  best {value:6.2f}{'  leads' if leads else ''}  ({self.finished} of {self.trials} trials)", "green" if leads else "")

    def fail(self, number: int, reason: str) -> None:
        """A trial has ended badly."""
        self._end(number)
        self._say(f"trial {number:>3}  failed: {reason}", "red")

    def _end(self, number: int) -> None:
        self.finished += 1
        self._epochs_of[number] = self.epochs

    def _eta(self) -> str:
        done, total = sum(self._epochs_of.values()), self.trials * self.epochs
        left = (time.perf_counter() - self._began) / done * (total - done)
        return f"ETA {duration(left)}"

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style or None, markup=False)


def duration(seconds: float) -> str:
    """`1h02m`, `3m05s` or `12s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
