"""`compare`: finished runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console import console

if TYPE_CHECKING:
    from orchestrator.comparison.rows import Row


def print_comparison(folders: list[Path], metrics: list[str], split: str, form: str | None) -> None:
    """Print finished runs side by side, with paired differences from the first run: a table for each metric, or one
    table in another format."""
    from orchestrator.comparison.rows import comparison_rows

    print_rows(comparison_rows(folders, metrics, split), metrics, split, form)


def print_rows(rows: list[Row], metrics: list[str], split: str, form: str | None) -> None:
    """Print rows of a comparison: a table for each metric, or one in a form for elsewhere."""
    from orchestrator.comparison.tables import FORMATS, comparison_table, legend

    if form is not None:
        print(FORMATS[form](rows))
        return
    for metric in metrics:
        console.print(comparison_table(rows, metric, split))
    for line in legend(rows):
        console.print(line, style="dim", soft_wrap=False)
