"""Tells the user why something waits, when it waits for long."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 30.0
"""Seconds until the first line; each further line comes after twice as long."""


BETWEEN_SECONDS = 5.0
"""Seconds between two attempts to find the reason, while there is none."""


class Reminder:
    """Gives a line about a wait when it has lasted for long, and then ever more rarely."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._due = FIRST_SECONDS
        self._asked = 0.0

    def line(self, now: float, waits: bool, reason: Callable[[], str | None]) -> str | None:
        """The line to print now; None if there is none.

        Args:
            now: a clock, in seconds.
            waits: whether something waits.
            reason: returns what it waits for, or None if it waits for nothing special; called rarely.
        """
        if not waits:
            self._since, self._due = None, FIRST_SECONDS
            return None
        self._since = now if self._since is None else self._since
        if now - self._since < self._due or now - self._asked < BETWEEN_SECONDS:
            return None
        self._asked, found = now, reason()
        if found is not None:
            self._due *= 2
        return found
