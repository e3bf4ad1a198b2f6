"""A process that trains many trials needs no more memory than one of them does."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from orchestrator.trials import worker

PIECES, NUMBERS = 1500, 2**16  # 400 MB in pieces for which glibc does not ask the operating system singly


def resident() -> float:
    """The memory of this process in GB."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096 / 1e9


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_what_a_trial_freed_is_given_back_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[torch.Tensor] = []

    def trial() -> None:
        pieces = [torch.ones(NUMBERS) for _ in range(PIECES)]
        kept.extend(pieces[::50])  # something always stays, between what is freed

    before = resident()
    thread = threading.Thread(target=trial)
    thread.start()
    thread.join(60)
    assert resident() - before > 0.3

    monkeypatch.setattr(worker, "open_workplace", Mock(side_effect=worker.InputError("no trial follows")))
    assignment: Any = Mock(host="", workers=2)
    reports: list[Any] = []
    worker.run_trial(assignment, reports.append)
    assert resident() - before < 0.1 and type(reports[0]).__name__ == "TrialFailed"
