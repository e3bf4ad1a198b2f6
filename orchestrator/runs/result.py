"""`best/result.json`: what was measured of the winner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.runs import names
from wsol.errors import InputError, first_line

NEEDED = {"objective": str, "checkpoint_sha256": str, "train_fullsup": dict, "baseline": dict, "intervals": dict}
"""Entries that every result has, whichever version wrote it."""


def read_result(folder: Path) -> dict[str, Any]:
    """The result of a finished run.

    Raises:
        InputError: the run has none yet, or it is damaged.
    """
    path = folder / names.WINNER_RESULT
    if not path.exists():
        raise InputError(f"{folder}: has no finished model yet ({path} is missing)")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name, kind in NEEDED.items() if not isinstance(result.get(name), kind)]
    except (ValueError, AttributeError) as error:
        missing, result = [first_line(error)], {}
    if missing:
        raise InputError(
            f"{path}: is damaged ({', '.join(missing)}); restore it from a copy, or delete it and let `python launch.py"
            f" resume {folder}` measure the winner again"
        )
    return dict(result)
