"""The errors that end a run and are not bugs, and helpers for their messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable

SHOWN = 8
"""Number of items that a message lists."""


class InputError(Exception):
    """The user's input cannot be used: the message says what, where and what to do. Exit code 2."""


class Diverged(Exception):
    """Training produced a non-finite loss: the trial failed, for the reason in the message, and is not retried."""


class RunFailed(Exception):
    """A run ended without the requested result: the message says why. Exit code 1."""


def first_line(error: Exception) -> str:
    """The first line of an error's message; its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `2 classes`."""
    return f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def named(noun: str, names: Collection[object]) -> str:
    """`seed 1`, `seeds 1, 2`."""
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(map(str, names))}"


def listed(items: Iterable[str]) -> str:
    """The first items, and how many more there are."""
    known = list(items)
    return ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
