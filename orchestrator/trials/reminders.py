"""How long a wait may last before the user is told why."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 30.0
"""After so long the first line is due; each further one is due after twice as long."""


BETWEEN_SECONDS = 5.0
"""Between two questions that had no answer."""


class Reminder:
    """A line about a wait when it has lasted for long, then ever more rarely."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._due = FIRST_SECONDS
        self._asked = 0.0

    def line(self, now: float, waits: bool, reason: Callable[[], str | None]) -> str | None:
        """What to say now, if anything.

        Args:
            now: a clock, in seconds.
            waits: whether something waits.
            reason: what for, None if that is not the matter; asked seldom.
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
