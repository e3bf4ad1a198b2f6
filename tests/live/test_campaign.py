"""A whole campaign on Ray, killed twice on the way. Slow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator.runs.journal import open_study
from tests.support.launcher import LONG
from tests.support.paths import ROOT
from tests.support.tiny import TINY

pytestmark = pytest.mark.slow


METHODS = {
    "cam": {},
    "has": {
        "trial": {"method": {"name": "has", "cell_size": 8}},
        "search": {"method.drop_rate": {"low": 0.0, "high": 0.5}},
    },
    "adl": {"trial": {"method": {"name": "adl"}}, "search": {"method.drop_rate": {"low": 0.0, "high": 1.0}}},
}
CELLS = [f"{method}-{backbone}" for backbone in ("narrow", "wide") for method in METHODS]
TRIALS = 2


def start(log: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *words], env=environment, stdout=file, stderr=subprocess.STDOUT
        )


def files(name: str) -> list[Path]:
    """Files of a name in all run folders; a recursive search could meet folders that vanish."""
    return [path for pattern in ("*/*", "*/*/seeds/*") for path in Path("runs").glob(f"{pattern}/{name}")]


def states() -> dict[str, list[str]]:
    """States of the trials of every cell that has begun, and of those with seeds, by name."""
    found = {}
    for header in files("study.json"):
        found[header.parent.name] = [trial.state.name for trial in open_study(header.parent).trials]
    return found


def kill_when(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()


def complete() -> int:
    return sum(state == "COMPLETE" for trials in states().values() for state in trials)


def finished(path: Path) -> list[dict[str, object]]:
    """The entries of a test record that have their numbers: one that was cut off may begin again, or get them."""
    entries = json.loads(path.read_text())["evaluations"]
    return [entry for entry in entries if entry["state"] == "finished"]


def evaluations() -> dict[str, int]:
    found = {path.parent.name: len(finished(path)) for path in files("test.json")}
    return {name: count for name, count in found.items() if count}


def test_a_campaign_killed_twice_ends_as_if_nothing_had_happened(space_file: Path) -> None:
    space_file.write_text(yaml.safe_dump({**TINY, "variants": METHODS}, sort_keys=False))
    campaign = {
        "methods": {name: {"file": "tiny.yaml", "variant": name} for name in METHODS},
        "backbones": {"narrow": {}, "wide": {"set": {"backbone.width": 8}}},
        "datasets": ["synthetic"],
        "trials": TRIALS,
        "reruns": {"top": 1, "seeds": [1, 2]},
        "set": {"training.epochs": 1},
    }
    Path("all.yaml").write_text(yaml.safe_dump(campaign, sort_keys=False))
    log = Path("log.txt").absolute()
    kill_when(lambda: complete() >= 3, start(log, "protocol", "all.yaml"), log)  # in the searches
    before = states()
    assert list(Path("runs/all").glob("*/trials.csv")) == [] and not evaluations()
    kill_when(lambda: len(evaluations()) >= 3, start(log, "resume", "runs/all"), log)
    kept = {path: path.read_text() for path in files("test.json") if finished(path)}
    done = start(log, "protocol", "all.yaml")
    assert done.wait(timeout=LONG) == 0, log.read_text()
    after = states()
    assert {name: after[name] for name in CELLS} == dict.fromkeys(CELLS, ["COMPLETE"] * TRIALS)  # none lost, none twice
    assert all(len(after[name]) >= len(trials) for name, trials in before.items())
    seeds = [name for name in after if name not in CELLS]
    assert len(seeds) == 2 * len(CELLS) and all(after[name] == ["COMPLETE"] for name in seeds)
    assert evaluations() == dict.fromkeys(seeds, 1)
    assert all(path.read_text() == text for path, text in kept.items())
    board = Path("runs/all/leaderboard.md").read_text()
    assert "6 of 6 cells are tested" in board and board.count("(2 seeds: ") == len(CELLS)
    assert max(map(len, log.read_text().splitlines())) <= 80
