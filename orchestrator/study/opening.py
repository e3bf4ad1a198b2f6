"""The first trials of a session: where they all fail alike, the others would as well."""

from __future__ import annotations

import re

OPENING_FAILURES = 3
"""So many trials that fail alike at the start of a session end it."""


class Opening:
    """How the trials of a session ended, in the order in which they began."""

    def __init__(self) -> None:
        self._reasons: dict[int, str | None] = {}  # None: it has not failed

    def begun(self, number: int) -> None:
        """A trial was asked for."""
        self._reasons[number] = None

    def ended(self, number: int, failure: str | None, worker: str) -> None:
        """A trial has ended: why it failed on which worker, or None."""
        self._reasons[number] = failure and failure.removeprefix(f"{worker.partition(':')[0]}: ")

    def all_failed_alike(self) -> bool:
        """Whether the first ones have all failed for one reason, on whichever node."""
        first = list(self._reasons.values())[:OPENING_FAILURES]
        alike = {without_numbers(str(reason)) for reason in first}
        return len(first) == OPENING_FAILURES and None not in first and len(alike) == 1


def without_numbers(reason: str) -> str:
    """What failures have in common that differ in an epoch, a rate, or in how a loss left the numbers."""
    return re.sub(r"\d[\d.e+-]*|\b(nan|inf)\b", "#", reason)
