"""The console on which all verbs print."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.formats import printable

UNBOUNDED = 1000
"""Columns, more than any table has."""


class PlainConsole(Console):
    """A console that prints text from elsewhere as it is: brackets are not markup, colons not emoji, and control codes
    are shown instead of obeyed. Colours are given as styles."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)
        if "width" not in settings and "COLUMNS" not in os.environ and not any(map(os.isatty, (0, 1, 2))):
            self.width = UNBOUNDED  # a log on a cluster: no table is folded to a width that nobody has

    def render_str(self, text: str, **settings: Any) -> Text:
        """Called for every text before it is measured and printed."""
        return super().render_str(printable(text), **settings)


console = PlainConsole(soft_wrap=True)
errors = PlainConsole(soft_wrap=True, stderr=True)

COMMAND = "python launch.py "

TOGETHER = "\u00a0"
"""A space where no line ends."""


def print_whole(console: Console, line: Table | str) -> None:
    """Print a table or a line so that its words stay whole, also in a narrow terminal. A table that is too wide becomes
    lines; on a terminal a line is broken between words, but for a command in it, which can be copied."""
    if isinstance(line, Table):
        natural = console.measure(line, options=console.options.update(max_width=UNBOUNDED)).maximum
        if natural <= console.width:
            console.print(line)
        else:
            for part in stacked(line, console.width):
                console.print(part)
        return
    before, found, command = line.partition(COMMAND)
    if not console.is_terminal or len(line) <= console.width or not found:
        console.print(line, soft_wrap=not console.is_terminal)
        return
    if before.strip():
        console.print(before.rstrip(), soft_wrap=False)
    console.print(found + command)


def stacked(table: Table, width: int) -> Iterator[str]:
    """The rows of a table as lines of some width: the first two cells, then the others with their titles. Only a word
    that is longer makes a longer line."""
    titles = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        first, second, *others = (str(cell) for cell in cells)
        yield f"{titles[0]} {first}: {second}" if first.isdigit() else f"{first}: {second}"
        rest = [f"{title} {cell}" for title, cell in zip(titles[2:], others, strict=True) if cell]
        text = ", ".join(part.replace(" ", TOGETHER) for part in rest)
        for line in textwrap.wrap(text, width - 2, break_long_words=False, break_on_hyphens=False):
            yield f"  {line.replace(TOGETHER, ' ')}"


class _UnreadableAllowed(io.FileIO):
    """A stream whose bytes are dropped once nobody reads them any more."""

    def write(self, data: Any, /) -> int:
        """Returns how many bytes were written or dropped."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def go_on_unread() -> None:
    """Keep running when the reader of this process's output ends first, as `| tee log` does on Ctrl-C: what is printed
    afterwards is dropped."""
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
    """Print past all buffers, to standard output if it is read. For signal handlers, which may have interrupted a
    print."""
    with contextlib.suppress(OSError):
        os.write(1, text.encode())
