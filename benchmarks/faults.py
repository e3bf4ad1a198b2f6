"""How a search stands what kills it, and how it ages: real searches of small trials on this machine.

    python -m benchmarks.faults launcher --seeds 5      SIGKILL of the launcher at a random moment, resumed, until the
    search is done python -m benchmarks.faults workers --seeds 2       SIGKILL of the process of a random trial every
    few seconds python -m benchmarks.faults interrupt --seeds 3     Ctrl-C and SIGTERM, once and twice: seconds until
    the launcher has ended python -m benchmarks.faults soak --trials 300       many nearly empty trials: memory of the
    launcher, seconds around each trial

`launcher` and `workers` end with code 1 where something was lost: a trial is missing or there twice, progress fell,
more epochs were trained again than can have been running, or one trial at a time ends with another winner than the same
search left alone. `interrupt` and `soak` print their numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import yaml
from optuna.trial import FrozenTrial, TrialState
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from benchmarks.row import Row, tell
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.journal import open_study
from orchestrator.trials.interrupt import INTERRUPTED
from wsol.checkpoint import Checkpoints

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
BLOCK = 50


def main() -> None:
    """Run one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["launcher", "workers", "interrupt", "soak"])
    parser.add_argument("--seeds", type=int, default=1, help="searches, each with other moments")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10**6, help="at most so many in a search")
    parser.add_argument("--seconds", type=float, nargs=2, default=[3.0, 5.0], help="between two kills, uniform")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("space.yaml").write_text(yaml.safe_dump(SPACE))
        if options.what == "soak":
            soak(options.trials)
        elif options.what == "interrupt":
            interrupts(options.seeds)
        else:
            wrong = [problem for seed in range(options.seeds) for problem in kills(seed, options)]
            sys.exit("\n".join(wrong) if wrong else 0)


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


def kills(seed: int, options: argparse.Namespace) -> Iterator[str]:
    """A search that is killed again and again; what was lost."""
    draw, run = random.Random(seed), Path(f"killed-{seed}")
    words = [
        f"study.trials={options.trials}",
        f"training.epochs={options.epochs}",
        f"resources.concurrent_trials={options.concurrent}",
    ]
    words = ["search", "space.yaml", f"study.seed={seed}", "study.max_failures=1000", *words]
    done, started = 0, time.monotonic()
    former: dict[int, int] = {}
    while True:
        verb = ["resume", str(run)] if (run / "study.json").exists() else [*words, "--run", str(run)]
        with launched(*verb) as process:
            while process.poll() is None and training_goes_on(run, process, former):
                if done >= options.kills:
                    break
                time.sleep(draw.uniform(*options.seconds))
                if process.poll() is None and (
                    victim := process.pid if options.what == "launcher" else worker(run, draw)
                ):
                    os.kill(victim, signal.SIGKILL)
                    done += 1
                    former = progress(
                        run
                    )  # the next one waits for an epoch: else a trial may never get beyond its start
                if options.what == "launcher":
                    break
            code = process.wait()
        reached = progress(run)
        yield from (
            f"seed {seed}: trial {number} fell from epoch {epoch}"
            for number, epoch in former.items()
            if reached.get(number, 0) < epoch
        )
        former = reached
        if code == 0:
            break
        if code != -signal.SIGKILL or done > 20 * options.trials:
            yield f"seed {seed}: ended with {code}: {Path('log.txt').read_text()[-2000:]}"
            return
    trials = open_study(run).get_trials(deepcopy=False)
    again = sum(trained(run, trial) for trial in trials) - options.trials * options.epochs
    retries = sum(trial.user_attrs.get("restarts", 0) for trial in trials)
    seconds = time.monotonic() - started
    print(
        f"seed {seed}: {len(trials)} trials, {done} kills, {retries} restarts, {again} epochs trained again,"
        f" {seconds:.0f} s",
        flush=True,
    )
    asked = options.trials * options.epochs
    tell(
        Row(
            f"a search after {done} kills",
            f"{asked + again} epochs trained",
            f"asked for: {asked}",
            1 + again / asked,
            "<= 1.1",
        )
    )
    yield from (f"seed {seed}: {text}" for text in losses(trials, options, done, again))
    if options.what == "launcher" and options.concurrent == 1:
        with launched(*words, "--run", f"whole-{seed}") as process:
            process.wait()
        best = [
            json.loads((folder / "best" / "result.json").read_text())["config"]
            for folder in (run, Path(f"whole-{seed}"))
        ]
        print(f"seed {seed}: the same winner as the search left alone: {best[0] == best[1]}", flush=True)
        if best[0] != best[1]:
            yield f"seed {seed}: another winner than the search left alone"


def losses(trials: list[FrozenTrial], options: argparse.Namespace, done: int, again: int) -> Iterator[str]:
    """What is wrong with the trials of a finished search."""
    if [trial.number for trial in trials] != list(range(options.trials)) or any(
        trial.state != TrialState.COMPLETE for trial in trials
    ):
        yield f"trials are {[(trial.number, trial.state.name) for trial in trials]}"
    if any(sorted(trial.intermediate_values) != list(range(1, options.epochs + 1)) for trial in trials):
        yield "epochs are missing in the journal"
    if again > done * options.concurrent:
        yield f"{again} epochs were trained again after {done} kills"
    if options.what == "workers" and sum(trial.user_attrs.get("restarts", 0) for trial in trials) > done:
        yield f"more restarts than the {done} kills"


def training_goes_on(run: Path, process: subprocess.Popen[bytes], former: dict[int, int]) -> bool:
    """Wait for an epoch beyond the former ones; False when the search ended instead."""
    while process.poll() is None:
        if progress(run) != former:
            return True
        time.sleep(0.1)
    return False


def progress(run: Path) -> dict[int, int]:
    """Trial -> epochs that its checkpoints know."""
    folders = run.glob("trials/*/manifest.json")
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


def interrupts(count: int) -> None:
    """Searches of endless trials, two at a time, interrupted when an epoch has ended."""
    for name, sent in {
        "SIGINT": [signal.SIGINT],
        "SIGTERM": [signal.SIGTERM],
        "SIGINT twice": [signal.SIGINT] * 2,
    }.items():
        taken = []
        for number in range(count):
            run = Path(f"{name}-{number}".replace(" ", "-"))
            with launched(
                "search", "space.yaml", "study.trials=2", "training.epochs=1000", "--run", str(run)
            ) as process:
                if not training_goes_on(run, process, {}):
                    sys.exit(Path("log.txt").read_text()[-2000:])
                begun = time.monotonic()
                for each in sent:
                    process.send_signal(each)
                    time.sleep(0.5)
                code = process.wait()
                taken.append(time.monotonic() - begun)
            assert code == INTERRUPTED, code
        print(f"{name}: {', '.join(f'{seconds:.1f}' for seconds in taken)} s until exit {INTERRUPTED}", flush=True)
        tell(Row(f"{name} until the end", f"{max(taken):.1f} s", f"worst of {count}", max(taken), "<= 10", "s"))


def soak(count: int) -> None:
    """Nearly empty trials one after the other."""
    run, memory = Path("soaked"), dict[int, float]()
    with launched(
        "search", "space.yaml", f"study.trials={count}", "resources.concurrent_trials=1", *FEW_IMAGES, "--run", str(run)
    ) as process:
        while process.poll() is None:
            ended = (
                sum(trial.state.is_finished() for trial in open_study(run).get_trials(deepcopy=False))
                if (run / "study.json").exists()
                else 0
            )
            if ended:
                memory.setdefault(ended, resident(process.pid) or memory.get(ended, 0.0))
            time.sleep(1)
    if process.returncode:
        sys.exit(Path("log.txt").read_text()[-2000:])
    trials = open_study(run).get_trials(deepcopy=False)
    around = [seconds_around(before, trial) for before, trial in pairwise(trials)]
    block = min(BLOCK, len(around) // 2)
    first, last = (sum(part) / block for part in (around[:block], around[-block:]))
    print(f"{len(trials)} trials, {sum(trial.state == TrialState.COMPLETE for trial in trials)} complete")
    print(f"seconds around a trial: {first:.3f} in the first {block}, {last:.3f} in the last: {last / first:.2f}x")
    samples = sorted(
        (ended, size) for ended, size in memory.items() if size and ended < count
    )  # behind the last one the winner is measured
    marks = [
        next((ended, size) for ended, size in samples if ended >= mark)
        for mark in (min(10, count // 2), count // 3, 2 * count // 3)
    ]
    shown = ", ".join(f"{size:.0f} MB after {ended}" for ended, size in (*marks, samples[-1]))
    early, late = marks[0][1], samples[-1][1]
    print(f"memory of the launcher: {shown} trials: {late - early:+.0f} MB")
    tell(
        Row(
            f"launcher's memory, {count} trials",
            f"{late:.0f} MB",
            f"after 10: {early:.0f} MB",
            late - early,
            "<= 50",
            "MB",
        )
    )
    tell(
        Row(
            f"time around the last {block} of {count} trials",
            f"{last:.2f} s",
            f"first {block}: {first:.2f} s",
            last / first,
            "<= 1.5",
        )
    )


def seconds_around(before: FrozenTrial, trial: FrozenTrial) -> float:
    """From the end of one trial to the end of the next, without what its process says that it took."""
    assert before.datetime_complete and trial.datetime_complete
    return (trial.datetime_complete - before.datetime_complete).total_seconds() - float(trial.user_attrs["seconds"])


def resident(pid: int) -> float:
    """Resident memory of a process in MB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    main()
