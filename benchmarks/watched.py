"""A search of small trials in a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.journal import open_study
from wsol.checkpoint import MANIFEST, Checkpoints

ROOT = Path(__file__).parent.parent
SPACE = {
    "trial": {
        "method": {"name": "cam"},
        "backbone": {"name": "tiny", "stride": 8, "width": 4},
        "data": {
            "name": "synthetic",
            "classes": 2,
            "train_images": 400,
            "fullsup_images": 8,
            "test_images": 4,
            "side": 32,
            "image_size": 32,
        },
        "optim": {"lr": 0.01},
        "training": {"batch_size": 8},
        "evaluation": {"threshold_step": 0.01},
    },
    "search": {"optim.lr": {"low": 0.001, "high": 0.1, "log": True}},
    "study": {"sampler": "random", "keep_checkpoints": 1000},  # what is dropped at the end does not count as lost
}
FEW_IMAGES = ["data.train_images=2", "data.fullsup_images=1", "data.test_images=1", "training.epochs=1"]


@contextmanager
def launched(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`launch.py` with words; whatever it says goes to `log.txt`."""
    with Path("log.txt").open("ab") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *words], env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def training_goes_on(run: Path, process: subprocess.Popen[bytes], former: dict[int, int]) -> bool:
    """Wait for an epoch beyond the former ones; False when the search ended instead."""
    while process.poll() is None:
        if progress(run) != former:
            return True
        time.sleep(0.1)
    return False


def progress(run: Path) -> dict[int, int]:
    """Trial -> epochs that its checkpoints know."""
    folders = run.glob(f"{names.TRIALS}/*/{MANIFEST}")
    return {int(path.parent.name): len(Checkpoints(path.parent).history) for path in folders}


def trained(run: Path, trial: FrozenTrial) -> int:
    """Epochs that were trained for a trial in all its lives: those that its event files tell of."""
    files = trial_folder(run, trial.number).glob("events.out.tfevents.*.[0-9]*")
    return sum(
        value.tag == "objective"
        for path in files
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    )


def worker(run: Path, draw: random.Random) -> int | None:
    """A living process of a random running trial, known by the name of its event file."""
    running = [
        trial.number for trial in open_study(run).get_trials(deepcopy=False) if trial.state == TrialState.RUNNING
    ]
    found = []
    for number in running:
        files = sorted(
            trial_folder(run, number).glob("events.out.tfevents.*.[0-9]*"), key=lambda path: path.stat().st_mtime
        )
        pid = int(files[-1].name.split(".")[-2]) if files else 0
        if pid and Path(f"/proc/{pid}").exists():
            found.append(pid)
    return draw.choice(found) if found else None


def resident(pid: int) -> float:
    """Resident memory of a process in MB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)
