"""Where everything that a verb says is printed."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.formats import printable


class PlainConsole(Console):
    """Prints names and reasons as they are, whoever wrote them: brackets are no markup, colons no emoji, and control
    codes are shown. Colours are given as styles."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """What every text becomes before it is measured and printed."""
        return super().render_str(printable(text), **settings)


console = PlainConsole(soft_wrap=True)
errors = PlainConsole(soft_wrap=True, stderr=True)


class _UnreadableAllowed(io.FileIO):
    """Bytes to where somebody reads, and to nowhere from when nobody does any more."""

    def write(self, data: Any, /) -> int:
        """Returns how many bytes are done with."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def go_on_unread() -> None:
    """A reader of what this process prints may end before it, as `| tee log` does on Ctrl-C: what is printed then goes
    to nowhere, and a run ends as it would have."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        with contextlib.suppress(AttributeError, ValueError, OSError):  # a stand-in that is no file
            if stream.fileno() == number:
                stream.flush()
                file = io.BufferedWriter(_UnreadableAllowed(number, "w", closefd=False))
                kept = {"encoding": stream.encoding, "errors": stream.errors}
                lines = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
                setattr(sys, name, io.TextIOWrapper(file, **kept, **lines))


def print_at_once(text: str) -> None:
    """For handlers of signals, which may have interrupted a print: past all buffers, to standard output if that is
    read."""
    with contextlib.suppress(OSError):
        os.write(1, text.encode())
