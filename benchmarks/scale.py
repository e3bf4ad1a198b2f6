"""How a search's controller bears many trials: its time for each report, and for each trial beginning and ending, and
its memory, first and last.

    python -m benchmarks.scale --trials 1000 --workers 8 --concurrent 32

Everything of the driver's side is real (study, journal, sampler, searcher, scheduler's question after every epoch); the
trials are not trained and not placed: the first worker's reports, the only ones that reach the controller, are made up.
So it says what the controller costs, not what Ray does.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import resource
import statistics
import time
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher

BLOCK = 100
"""Trials of which the medians are taken."""


class Clock:
    """CPU seconds of every kind of call, in the order of the trials: waiting for the disk is left out, and so are other
    programs."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"begin": [], "report": [], "end": []}

    def __call__(self, kind: str, function: Any, *arguments: Any) -> Any:
        started = time.process_time()
        answer = function(*arguments)
        self.seconds[kind].append(time.process_time() - started)
        return answer


def experiment(trials: int, epochs: int, workers: int, sampler: str, scheduler: str) -> Experiment:
    """The built-in search with another size."""
    words = [
        f"study.trials={trials}",
        f"training.epochs={epochs}",
        f"study.sampler={sampler}",
        f"study.scheduler={scheduler}",
    ]
    return load_experiment(Path("search_spaces/synthetic.yaml"), [*words, f"resources.workers={workers}"]).experiment


def record(epoch: int, height: float) -> dict[str, Any]:
    """What is known after an epoch."""
    now = height * (1 - 0.7**epoch)
    measured = dict.fromkeys(
        ("train_fullsup/max_box_acc_v2", *(f"train_fullsup/other_{index}" for index in range(20))), now
    )
    return {"epoch": epoch, "objective": now, "objective_now": now, "train/loss": 1 / epoch, "seconds": 1.0, **measured}


def drive(folder: Path, of: Experiment, concurrent: int) -> tuple[Clock, list[float]]:
    """Run a whole study; times, and memory in MB after every block of trials."""
    epochs, draw, clock, memory = of.trial.training.epochs, random.Random(0), Clock(), []
    study = create_study(folder, of, RunHeader("scale"))
    plan = Plan(of.resources.workers, 1, 0.0, concurrent, {})
    progress = SearchProgress(of.study.trials, epochs, concurrent, console=Console(quiet=True))
    searcher = StudySearcher(study, plan, progress, lambda: False)
    running: deque[tuple[str, int, list[dict[str, Any]], float]] = deque()
    begun = ended = 0
    while running or begun < of.study.trials:
        while len(running) < concurrent and begun < of.study.trials:
            wire = clock("begin", searcher.suggest, name := f"trial-{begun}")
            assert isinstance(wire, dict), wire
            running.append((name, 0, [], draw.uniform(20, 80)))
            begun += 1
        name, epoch, history, height = running.popleft()
        history.append(record(epoch + 1, height))
        stop = clock("report", searcher.after_epoch, name, {**history[-1], "worker": "node:1"})
        if not stop and epoch + 1 < epochs:
            running.append((name, epoch + 1, history, height))
            continue
        last = {"history": json.dumps(history), "seconds": 1.0, "worker": "node:1"}
        clock("end", searcher.on_trial_complete, name, copy.copy(last))
        ended += 1
        if ended % BLOCK == 0:
            memory.append(resident())
    study.close()
    return clock, memory


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print medians in CPU milliseconds of the first and the last trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--concurrent", type=int, default=32)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--scheduler", default="none")
    options = parser.parse_args()
    of = experiment(options.trials, options.epochs, options.workers, options.sampler, options.scheduler)
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        clock, memory = drive(Path(folder), of, options.concurrent)
        journal = (Path(folder) / "study.journal").stat().st_size / 2**20
    seconds = time.perf_counter() - started
    print(
        f"{options.trials} trials x {options.workers} workers, {options.epochs} epochs, {options.sampler},"
        f" {options.scheduler}: {seconds:.0f} s"
    )
    for kind, values in clock.seconds.items():
        block = math.ceil(BLOCK * len(values) / options.trials)
        first, last = (1000 * statistics.median(part) for part in (values[:block], values[-block:]))
        print(f"{kind:<7} {first:8.2f} CPU ms at first, {last:8.2f} at last, ratio {last / first:.2f}")
    print(f"memory  {memory[0]:8.1f} MB after {BLOCK} trials, {memory[-1]:.1f} MB at last; journal {journal:.1f} MB")


if __name__ == "__main__":
    main()
