"""When a line about long work is due."""

from __future__ import annotations

import time

SECONDS_BETWEEN_LINES = 5.0


class Pace:
    """A clock for lines of progress: one is due every few seconds, the first not at once."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def is_due(self) -> bool:
        """Whether to say something now; the next line is then due a while later."""
        due = time.monotonic() - self._shown > SECONDS_BETWEEN_LINES
        if due:
            self._shown = time.monotonic()
        return due
