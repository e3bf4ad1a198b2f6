"""How a search stands what kills it, and how it ages: real searches of small trials on this machine.

    python -m benchmarks.faults launcher --seeds 5      SIGKILL of the launcher at a random moment, resumed, until the
                                                        search is done
    python -m benchmarks.faults workers --seeds 2       SIGKILL of the process of a random trial every few seconds
    python -m benchmarks.faults interrupt --seeds 3     Ctrl-C and SIGTERM, once and twice: seconds until the launcher
                                                        has ended
    python -m benchmarks.faults soak --trials 300       many nearly empty trials: memory of the launcher, seconds around
                                                        each trial

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
from itertools import pairwise
from pathlib import Path

import yaml
from optuna.trial import FrozenTrial, TrialState

from benchmarks.row import Row, tell
from benchmarks.watched import FEW_IMAGES, SPACE, launched, progress, resident, trained, training_goes_on, worker
from orchestrator.runs import names
from orchestrator.runs.journal import open_study
from orchestrator.trials.interrupt import INTERRUPTED

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


class KilledSearch:
    """A search that is killed again and again, and resumed where the launcher was killed.

    Attributes:
        run: its folder.
        words: of the command line that begins it.
        kills: how many there were.
        code: of the last launcher; 0 when the search is done.
    """

    def __init__(self, seed: int, options: argparse.Namespace) -> None:
        self.seed, self.options, self.run = seed, options, Path(f"killed-{seed}")
        self.words = [
            *("search", "space.yaml", f"study.seed={seed}", "study.max_failures=1000"),
            f"study.trials={options.trials}",
            f"training.epochs={options.epochs}",
            f"resources.concurrent_trials={options.concurrent}",
        ]
        self.kills, self.code = 0, -1
        self._draw, self._former = random.Random(seed), dict[int, int]()

    def until_done(self) -> Iterator[str]:
        """Run the search to its end; trials that fell back, and how it ended where that was too early."""
        while self.code != 0:
            self._launch()
            reached = progress(self.run)
            yield from (
                f"trial {number} fell from epoch {epoch}"
                for number, epoch in self._former.items()
                if reached.get(number, 0) < epoch
            )
            self._former = reached
            if self.code not in (0, -signal.SIGKILL) or self.kills > 20 * self.options.trials:
                yield f"ended with {self.code}: {Path('log.txt').read_text()[-2000:]}"
                return

    def _launch(self) -> None:
        """Begin or resume it, and kill what is to be killed until this launcher ends."""
        resumed = (self.run / names.HEADER).exists()
        with launched(*(["resume", str(self.run)] if resumed else [*self.words, "--run", str(self.run)])) as process:
            while process.poll() is None and training_goes_on(self.run, process, self._former):
                if self.kills >= self.options.kills:
                    break
                time.sleep(self._draw.uniform(*self.options.seconds))
                self._kill(process)
                if self.options.what == "launcher":
                    break
            self.code = process.wait()

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        victim = process.pid if self.options.what == "launcher" else worker(self.run, self._draw)
        if process.poll() is None and victim:
            os.kill(victim, signal.SIGKILL)
            self.kills += 1
            # The next one waits for an epoch: else a trial may never get beyond its start.
            self._former = progress(self.run)


def kills(seed: int, options: argparse.Namespace) -> Iterator[str]:
    """What a search lost that was killed again and again."""
    search, started = KilledSearch(seed, options), time.monotonic()
    yield from (f"seed {seed}: {text}" for text in search.until_done())
    if search.code != 0:
        return
    trials = open_study(search.run).get_trials(deepcopy=False)
    asked = options.trials * options.epochs
    again = sum(trained(search.run, trial) for trial in trials) - asked
    retries = sum(trial.user_attrs.get("restarts", 0) for trial in trials)
    print(
        f"seed {seed}: {len(trials)} trials, {search.kills} kills, {retries} restarts, {again} epochs trained again,"
        f" {time.monotonic() - started:.0f} s",
        flush=True,
    )
    name, found = f"a search after {search.kills} kills", f"{asked + again} epochs trained"
    tell(Row(name, found, f"asked for: {asked}", 1 + again / asked, "<= 1.1"))
    yield from (f"seed {seed}: {text}" for text in losses(trials, options, search.kills, again))
    if options.what == "launcher" and options.concurrent == 1 and not same_winner(search):
        yield f"seed {seed}: another winner than the search left alone"


def same_winner(search: KilledSearch) -> bool:
    """Whether the same search, left alone, ends with the same configuration."""
    alone = Path(f"whole-{search.seed}")
    with launched(*search.words, "--run", str(alone)) as process:
        process.wait()
    first, second = (json.loads((run / names.WINNER_RESULT).read_text())["config"] for run in (search.run, alone))
    print(f"seed {search.seed}: the same winner as the search left alone: {first == second}", flush=True)
    return bool(first == second)


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
    run = Path("soaked")
    memory = memory_by_trial(run, count)
    trials = open_study(run).get_trials(deepcopy=False)
    around = [seconds_around(before, trial) for before, trial in pairwise(trials)]
    block = min(BLOCK, len(around) // 2)
    first, last = (sum(part) / block for part in (around[:block], around[-block:]))
    print(f"{len(trials)} trials, {sum(trial.state == TrialState.COMPLETE for trial in trials)} complete")
    print(f"seconds around a trial: {first:.3f} in the first {block}, {last:.3f} in the last: {last / first:.2f}x")
    marks = [
        next((ended, size) for ended, size in memory if ended >= mark)
        for mark in (min(10, count // 2), count // 3, 2 * count // 3)
    ]
    shown = ", ".join(f"{size:.0f} MB after {ended}" for ended, size in (*marks, memory[-1]))
    early, late = marks[0][1], memory[-1][1]
    print(f"memory of the launcher: {shown} trials: {late - early:+.0f} MB")
    name, before = f"launcher's memory, {count} trials", f"after 10: {early:.0f} MB"
    tell(Row(name, f"{late:.0f} MB", before, late - early, "<= 50", "MB"))
    name, before = f"time around the last {block} of {count} trials", f"first {block}: {first:.2f} s"
    tell(Row(name, f"{last:.2f} s", before, last / first, "<= 1.5"))


def memory_by_trial(run: Path, count: int) -> list[tuple[int, float]]:
    """Search; how many trials had ended, and the launcher's memory then in MB. What follows the last one, in which the
    winner is measured, is left out."""
    memory = dict[int, float]()
    words = [f"study.trials={count}", "resources.concurrent_trials=1", *FEW_IMAGES, "--run", str(run)]
    with launched("search", "space.yaml", *words) as process:
        while process.poll() is None:
            if ended := ended_trials(run):
                memory.setdefault(ended, resident(process.pid) or memory.get(ended, 0.0))
            time.sleep(1)
    if process.returncode:
        sys.exit(Path("log.txt").read_text()[-2000:])
    return sorted((ended, size) for ended, size in memory.items() if size and ended < count)


def ended_trials(run: Path) -> int:
    """How many trials of a search have ended; 0 before it has begun."""
    if not (run / names.HEADER).exists():
        return 0
    return sum(trial.state.is_finished() for trial in open_study(run).get_trials(deepcopy=False))


def seconds_around(before: FrozenTrial, trial: FrozenTrial) -> float:
    """From the end of one trial to the end of the next, without what its process says that it took."""
    assert before.datetime_complete and trial.datetime_complete
    return (trial.datetime_complete - before.datetime_complete).total_seconds() - float(trial.user_attrs["seconds"])


if __name__ == "__main__":
    main()
