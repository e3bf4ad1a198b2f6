"""`sweep`: scores finished runs under every post-hoc setting of a file, side by side. Nothing is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console import console
from orchestrator.preflight.place import require_writable
from orchestrator.runs import names
from orchestrator.verbs.evaluate import require_scored_split
from orchestrator.winner.post_hoc import post_hoc_of

if TYPE_CHECKING:
    from orchestrator.comparison.rows import Row


def sweep(folders: list[Path], path: Path | None, overrides: list[str], metrics: list[str], split: str) -> list[Row]:
    """Score finished runs that differ only in their seed under every combination of post-hoc values; returns a row for
    each, the runs as they are first. The runs keep their own settings. An evaluation on test is recorded in each of
    them.

    Args:
        folders: the run folders.
        path: a search-space file, whose `post_hoc` section is used; None: only `overrides`.
        overrides: `post_hoc.PATH=[VALUE, ...]`.
        metrics: keys, such as `max_box_acc_v2`.
        split: `train_fullsup` or `test`.

    Raises:
        InputError: the user can correct what is wrong.
    """
    from orchestrator.winner.sweep import sweep

    require_scored_split(split)
    post_hoc = post_hoc_of(folders[0], path, overrides)
    if split == "test":
        for folder in folders:
            require_writable(folder)
    rows = sweep(folders, post_hoc, metrics, split)
    if split == "test":
        console.print(f"this look at test is recorded in {names.TESTS} of each run; nothing is chosen by it")
    return rows


def print_sweep(
    folders: list[Path], path: Path | None, overrides: list[str], metrics: list[str], split: str, form: str | None
) -> None:
    """Run `sweep` and print a table for each metric, or one table of all metrics in another format."""
    from orchestrator.verbs.compare import print_rows

    print_rows(sweep(folders, path, overrides, metrics, split), metrics, split, form)
