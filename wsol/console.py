"""Lines that tell a user what was decided for him, on standard error."""

from __future__ import annotations

import sys
from functools import cache


def say(line: str) -> None:
    """Print a line."""
    print(line, file=sys.stderr, flush=True)


@cache
def say_once(line: str) -> None:
    """Print a line, if this process has not printed it before."""
    say(line)
