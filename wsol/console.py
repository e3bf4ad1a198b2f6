"""Lines that tell a user what was decided for him, on standard error."""

from __future__ import annotations

import sys
from functools import cache

ERASE = "\r\x1b[K"
"""Takes away what stands in the line of a terminal, such as a bar."""


def say(line: str) -> None:
    """Print a line, on a terminal in place of a bar."""
    print(f"{ERASE if sys.stderr.isatty() else ''}{line}", file=sys.stderr, flush=True)


@cache
def say_once(line: str) -> None:
    """Print a line, if this process has not printed it before."""
    say(line)
