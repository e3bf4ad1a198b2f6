"""Shows the progress of long work: on a terminal, a bar that disappears at the end; elsewhere, a line every few
seconds."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from wsol.console import ERASE, say

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_BARS = 0.1
WIDTH = 24

Item = TypeVar("Item")


class Pace:
    """A clock for lines of progress: one is due every few seconds, the first not at once."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def is_due(self, seconds: float | None = None) -> bool:
        """Whether a line is due now; if so, the next one is due a while later."""
        due = time.monotonic() - self._shown > (SECONDS_BETWEEN_LINES if seconds is None else seconds)
        if due:
            self._shown = time.monotonic()
        return due


class Progress:
    """Shows how much of some work is done.

    Args:
        label: the name of the work, such as `decoding cub-224`.
        total: the amount of work; None if unknown.
        unit: the unit that is counted, such as `images`.
        log: takes a line every few seconds if standard error is not a terminal; None: nothing is shown there.
    """

    def __init__(self, label: str, total: int | None, unit: str, log: Callable[[str], None] | None = say) -> None:
        self._label, self._total, self._unit, self._log = label, total, unit, log
        self._pace, self._begun, self._drawn = Pace(), time.monotonic(), False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed in its place."""
        if self._drawn:
            print(ERASE, end="", file=sys.stderr, flush=True)

    def show(self, done: int) -> None:
        """Note how much is done; it is drawn if a while has passed."""
        if sys.stderr.isatty():
            if self._pace.is_due(SECONDS_BETWEEN_BARS):
                self._draw(done)
        elif self._log is not None and self._pace.is_due():
            self._log(self._words(done))

    def _words(self, done: int) -> str:
        left = (time.monotonic() - self._begun) * (self._total / done - 1) if self._total and done else None
        words = f"{self._label}: {done} of {'?' if self._total is None else self._total} {self._unit}"
        return words if left is None else f"{words}, {left:.0f}s left"

    def _draw(self, done: int) -> None:
        full = round(WIDTH * min(done / self._total, 1.0)) if self._total else 0
        bar = f"{'━' * full}{' ' * (WIDTH - full)}"
        columns = shutil.get_terminal_size().columns - WIDTH - 4
        print(f"{ERASE}{bar}  {self._words(done)[: max(columns, 8)]}", end="", file=sys.stderr, flush=True)
        self._drawn = True


def paced(
    items: Iterable[Item],
    label: str,
    total: int,
    unit: str = "images",
    *,
    log: Callable[[str], None] | None = say,
) -> Iterator[Item]:
    """Pass items on and show how many have passed. Arguments: see `Progress`."""
    with Progress(label, total, unit, log) as progress:
        for done, item in enumerate(items):
            progress.show(done)
            yield item
