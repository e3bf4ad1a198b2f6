"""`test.json`: every evaluation on the test split that ever was, and the rule that one is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.runs import names
from wsol.errors import InputError
from wsol.files import write_text


def require_untested(folder: Path, reason: str | None) -> None:
    """The test split is for one final number. Raises InputError if it was evaluated before and no reason is given to do
    it again."""
    if recorded_tests(folder) and not reason:
        times = ", ".join(entry["time"] for entry in recorded_tests(folder))
        raise InputError(
            f"{folder}: the test split was already evaluated ({times}); its numbers are in test.json. "
            'Evaluating again and choosing would bias the result; if you must: --test-again "why", which is recorded'
        )


def recorded_tests(folder: Path) -> list[dict[str, Any]]:
    """The recorded evaluations on the test split."""
    path = folder / names.TESTS
    return list(json.loads(path.read_text())["evaluations"]) if path.exists() else []


def record_test(folder: Path, entry: dict[str, Any]) -> None:
    """Add an evaluation to `test.json`."""
    write_text(folder / names.TESTS, json.dumps({"evaluations": [*recorded_tests(folder), entry]}, indent=1))


def test_of_checkpoint(folder: Path, checkpoint_sha256: str) -> dict[str, Any] | None:
    """The first recorded evaluation of a checkpoint on the test split: more trials after it may have found another
    winner."""
    return next((entry for entry in recorded_tests(folder) if entry["checkpoint_sha256"] == checkpoint_sha256), None)
