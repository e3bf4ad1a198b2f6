"""Prints lines to standard error that tell the user what the program decided."""

from __future__ import annotations

import sys
from functools import cache

ERASE = "\r\x1b[K"
"""The control code that clears the current line of a terminal, such as a bar."""


def say(line: str) -> None:
    """Print a line; on a terminal, it replaces a bar."""
    print(f"{ERASE if sys.stderr.isatty() else ''}{line}", file=sys.stderr, flush=True)


@cache
def say_once(line: str) -> None:
    """Print a line, if this process has not printed it before."""
    say(line)
