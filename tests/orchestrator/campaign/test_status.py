"""`status` of a campaign whose files are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.campaign.status import campaign_lines, read_campaign_status
from tests.support.recorded_runs import complete_trial, make_run

END = "2026-01-05T11:30:00+00:00"


def ended_campaign(folder: Path) -> Path:
    """A cell that has ended, in a campaign that has."""
    complete_trial(make_run(folder / "cam-tiny", ended=END, trials=1), 58.0)
    cell = {"name": "cam-tiny", "method": "cam", "backbone": "tiny", "dataset": "synthetic", "after": None}
    facts = {"name": "all", "source": "all.yaml", "command": "", "git": None, "versions": {}, "hashes": {}}
    times = {"started": END, "ended": END, "reruns": None, "published_points": True}
    (folder / "campaign.json").write_text(json.dumps({**facts, **times, "cells": [cell]}))
    return folder


def texts(folder: Path) -> list[str]:
    return [line for line in campaign_lines(folder, read_campaign_status(folder)) if isinstance(line, str)]


@pytest.mark.parametrize("name", ["test.json", "study.journal", "best/result.json"])
def test_a_campaign_with_a_damaged_cell_is_not_called_finished(tmp_path: Path, name: str) -> None:
    folder = ended_campaign(tmp_path / "all")
    assert texts(folder)[0] == f"{folder}: finished; 1 of 1 trials, 0 of 1 cells tested"
    (folder / "cam-tiny" / name).parent.mkdir(exist_ok=True)
    (folder / "cam-tiny" / name).write_text("no\nJSON\n")
    first, *others = texts(folder)
    assert first.startswith(f"{folder}: damaged; ")
    assert [line for line in others if line.startswith("note: cam-tiny: ") and Path(name).name in line]
