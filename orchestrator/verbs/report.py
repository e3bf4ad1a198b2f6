"""`report`: the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.console import console
from orchestrator.preflight.place import require_writable
from orchestrator.report.page import write_report


def report(folder: Path, beside: Sequence[Path] = ()) -> Path:
    """Write `report.html` of a run, running or finished; returns its path.

    Args:
        folder: the run folder.
        beside: folders of other searches for the same objective, drawn in the same figure.

    Raises:
        InputError: a folder holds no run, or the run folder cannot be written.
    """
    require_writable(folder)
    path = write_report(folder, beside)
    console.print(str(path))
    return path
