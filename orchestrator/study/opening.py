"""Watches the first trials of a session: if they all fail for the same reason, the others would as well."""

from __future__ import annotations

import re

OPENING_FAILURES = 3
"""So many trials that fail for the same reason at the start of a session end it."""


class Opening:
    """How the trials of a session ended, in the order in which they began."""

    def __init__(self) -> None:
        self._reasons: dict[int, str | None] = {}  # None: it has not failed

    def begun(self, number: int) -> None:
        """Note that a trial has begun."""
        self._reasons[number] = None

    def ended(self, number: int, failure: str | None, worker: str) -> None:
        """Note that a trial has ended: why it failed and on which worker, or None."""
        self._reasons[number] = failure and failure.removeprefix(f"{worker.partition(':')[0]}: ")

    def all_failed_alike(self) -> bool:
        """Whether the first ones have all failed for one reason, on whichever node."""
        first = list(self._reasons.values())[:OPENING_FAILURES]
        alike = {without_numbers(str(reason)) for reason in first}
        return len(first) == OPENING_FAILURES and None not in first and len(alike) == 1


def without_numbers(reason: str) -> str:
    """A failure without its numbers, so that failures that differ only in an epoch, a rate, or the value of a diverged
    loss are equal."""
    return re.sub(r"\d[\d.e+-]*|\b(nan|inf)\b", "#", reason)
