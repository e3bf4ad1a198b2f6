"""One line of the table that `python -m benchmarks` prints, as a benchmark tells it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

ROWS = "BENCHMARK_ROWS"
"""Environment variable: the file where rows are collected."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured beside what.

    Attributes:
        what: the work, `box metrics, 28x28 cells`.
        ours: this package's figure with its unit.
        beside: what it is compared with, and its figure.
        found: the number that the target is about, a ratio unless `unit` says otherwise; None: it could not be
            measured, and `ours` says why.
        target: `>= 20` or `<= 1.15`; empty without one.
        unit: of `found`.
    """

    what: str
    ours: str
    beside: str
    found: float | None
    target: str = ""
    unit: str = "x"

    @property
    def is_met(self) -> bool | None:
        """Whether the target was reached; None without one, and where nothing was measured."""
        sign, _, limit = self.target.partition(" ")
        if not sign or self.found is None:
            return None
        return self.found >= float(limit) if sign == ">=" else self.found <= float(limit)


def tell(row: Row) -> None:
    """Add a row to the table that is being collected; alone, a benchmark's own lines say the same."""
    if path := os.environ.get(ROWS):
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def read_rows(path: Path) -> list[Row]:
    """The rows that were told to a file; none if there is none."""
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
