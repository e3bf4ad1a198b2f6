"""The findings of a check, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsol.errors import InputError

State = Literal["ok", "note", "wrong"]
"""`ok`; `note`: works, but the user should know about it; `wrong`: does not work or is not safe."""


COLOURS: dict[State, str] = {"ok": "green", "note": "yellow", "wrong": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.

    Attributes:
        subject: what was checked.
        state: `ok`, `note` or `wrong`.
        detail: what was found, and what to do.
        lacks: whether something that is needed to start is missing on this machine.
    """

    subject: str
    state: State
    detail: str
    lacks: bool = False


def show(title: str, findings: list[Finding], console: Console) -> None:
    """Print the findings as a table.

    Raises:
        InputError: something is wrong.
    """
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(finding.subject, Text(finding.state, COLOURS[finding.state]), finding.detail)
    console.print(table)
    wrong = sum(finding.state == "wrong" for finding in findings)
    if wrong:
        raise InputError(f"{title}: {wrong} of {len(findings)} checks failed")
