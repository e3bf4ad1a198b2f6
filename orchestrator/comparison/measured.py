"""Our own numbers: `measured.yaml`, from which the README, the pages of `docs/` and `launch.py describe` are
made."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("measured.yaml")


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """The numbers of one run.

    Attributes:
        method: name of a plugin, or `centre Gaussian` for the baseline without learning.
        setting: the differences from the point that the table names; empty if there are none.
        values: one text for each column of the table, in percent on test; None where nothing was measured.
    """

    method: str
    setting: str
    values: tuple[str | None, ...]

    @property
    def label(self) -> str:
        """The first cell of the row: `has (cell_size=16)`."""
        return f"{self.method} ({self.setting})" if self.setting else self.method


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """Runs that can be compared: the same test images, the same effort.

    Attributes:
        name: by which a document asks for it.
        about: data set, images, backbone, effort, in words.
        columns: the names of the measured metrics.
        rows: the rows; the others are compared with the first one.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[MeasuredRow, ...]

    def markdown(self, method: str | None = None) -> str:
        """The table as Markdown.

        Args:
            method: only the rows of this plugin; None: all rows. The table is empty if there are none.
        """
        rows = [row for row in self.rows if method in (None, row.method)]
        lines = [f"| {' | '.join([row.label, *(value or '' for value in row.values)])} |" for row in rows]
        head = [f"| {' | '.join(['method', *self.columns])} |", "|---" * (len(self.columns) + 1) + "|"]
        return "\n".join([*head, *lines]) if lines else ""

    def main_number(self, method: str) -> str:
        """The first column of the first row of a plugin, without its interval; empty where there is none."""
        values = (row.values[0] or "" for row in self.rows if row.method == method)
        return re.sub(r" \(.*?\)", "", next(values, ""))


@functools.cache
def measured_tables() -> tuple[MeasuredTable, ...]:
    """All tables of the file, in its order."""
    return tuple(
        MeasuredTable(
            table["name"],
            table["about"],
            tuple(table["columns"]),
            tuple(MeasuredRow(row["method"], row.get("setting", ""), tuple(row["values"])) for row in table["rows"]),
        )
        for table in yaml.safe_load(FILE.read_text(encoding="utf-8"))
    )
