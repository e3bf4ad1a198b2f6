"""A search whose results are in a store, killed and resumed on a machine that has nothing of it. Slow."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.runs.journal import open_study
from orchestrator.runs.store import Mirror
from tests.support.launcher import command, environment, launch, rows, wait_for
from wsol.addresses import below
from wsol.checkpoint import Checkpoints

pytestmark = pytest.mark.slow

EPOCHS = 40
"""More than a trial trains while its killed search is noticed."""


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_a_killed_search_goes_on_from_its_store_alone(space_file: Path, bucket: str, kind: str) -> None:
    storage = below(bucket, "study") if kind == "s3" else (space_file.parent / "store").as_uri()
    address = below(storage, "tiny")
    words = [
        "study.trials=2",
        f"training.epochs={EPOCHS}",
        "resources.concurrent_trials=1",
        f"resources.storage={storage}",
    ]
    process = subprocess.Popen(command("search", str(space_file), *words), env=environment(), text=True)
    wait_for(lambda: second_trial_has_epochs(address), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(Path("runs").glob("*/trials/*/epoch-*.pt")), (
        "checkpoints are in the store alone while the search runs"
    )
    shutil.rmtree("runs")
    code, out = launch("resume", "runs/again", "--from", address)
    assert code == 0, out
    assert [row["state"] for row in rows("runs/again")] == ["complete"] * 2
    started = [int(epoch) for epoch in re.findall(rf"trial +1 +epoch +(\d+)/{EPOCHS}", out)]
    assert started[0] > 1 and started[-1] == EPOCHS, "the second trial goes on from the store"
    assert not re.search(r"trial +0 +epoch", out)
    assert all(
        sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
        for trial in open_study(Path("runs/again")).trials
    )
    Mirror(address, Path("copy")).pull()
    for name in ("best/weights.pt", "best/result.json", "test.json", "report.html", "trials.csv", "study.journal"):
        assert (Path("copy") / name).read_bytes() == (Path("runs/again") / name).read_bytes(), name
    for folder in ("copy", "runs/again"):
        kept = [Checkpoints(Path(folder) / "trials" / name) for name in ("0000", "0001")]
        assert all(checkpoints.best and checkpoints.load(checkpoints.best) for checkpoints in kept)
    code, out = launch("search", str(space_file), *words)
    assert code == 2 and "holds a run already" in out and not Path("runs/tiny").exists()


def second_trial_has_epochs(address: str) -> bool:
    """Whether two epochs of the second trial are safe in the store."""
    time.sleep(0.5)
    peek = Path("peek")
    Mirror(below(address, "trials", "0001"), peek).pull(lambda name: name == "manifest.json")
    return (peek / "manifest.json").exists() and len(json.loads((peek / "manifest.json").read_text())["history"]) >= 2
