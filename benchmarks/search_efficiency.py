"""How many trials and epochs a search needs until it is as good as the official protocol's 30 random trials are on
average.

    python -m benchmarks.search_efficiency                  replay of the recorded trials, both tables
    python -m benchmarks.search_efficiency --table tiny_imagenet_trials --seeds 20
    python -m benchmarks.search_efficiency --table synthetic_has_trials --record DIR
                                                            train them: hours; goes on where it was stopped

Recorded are real trainings at random points of a space, with the objective of every epoch, in the table beside its
file; its first row is the published point. In the replay our own study asks for points and is told, epoch by epoch,
what the nearest recorded training (in the unit cube of the space) showed that it has not been told of yet; only the
published point is told of the first row. Every search may spend as many epochs as 30 trials take, and ends earlier if
the table is used up. The reference value is what 30 random trials reach on average over the seeds.

`synthetic_has_trials`: HaS on rendered images over the ranges of the protocol, 90 trials of 12 epochs. The learning
rate spans five decades, and most of it learns nothing. The rate decays at epoch 9, before which our schedulers stop
nothing unless `study.grace_epochs` says so; the searches "from epoch 1" have 1 there.

`tiny_imagenet_trials`: HaS with a pretrained network in narrow ranges, 160 trials of 6 epochs: a space in which nothing
matters. The objective is counted on 200 images, whose noise is about as large as what the settings change, and the
first epoch says little about the best one: that is why stopping early at epochs 1 and 3 does not help there.

`scheduler: race` compares hits of single images, which neither table has, and is not replayed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from benchmarks.recorded_trials import TABLES, Floats, Table, record
from benchmarks.row import Row, tell
from orchestrator.experiment.grace import grace_epochs
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.points import published_points
from orchestrator.study.samplers import SAMPLERS
from orchestrator.study.study import Study
from orchestrator.study.task import Task

TRIALS = 30


@dataclass(frozen=True)
class Way:
    """A way to search.

    Attributes:
        sampler, scheduler: of the study.
        published: whether the published point is tried first.
        at_once: `study.grace_epochs` is 1: trials may be stopped before the first decay of the learning rate.
        abreast: so many trials run at a time, each an epoch in turn.
        liar: whether TPE takes running trials for bad ones (`constant_liar`), as ours does.
    """

    sampler: str
    scheduler: str = "none"
    published: bool = False
    at_once: bool = False
    abreast: int = 1
    liar: bool = True


SEARCHES = {
    "random": Way("random"),
    "random + ASHA": Way("random", "asha"),
    "random + ASHA from epoch 1": Way("random", "asha", at_once=True),
    "random + Hyperband": Way("random", "hyperband"),
    "random + Hyperband from epoch 1": Way("random", "hyperband", at_once=True),
    "TPE": Way("tpe"),
    "TPE + ASHA": Way("tpe", "asha"),
    "TPE + ASHA from epoch 1": Way("tpe", "asha", at_once=True),
    "TPE, published point first": Way("tpe", published=True),
    "TPE + ASHA, published point first": Way("tpe", "asha", published=True),
    "TPE + ASHA from epoch 1, published first": Way("tpe", "asha", published=True, at_once=True),
    "TPE, 4 at a time": Way("tpe", abreast=4),
    "TPE, 4 at a time, no liar": Way("tpe", abreast=4, liar=False),
    "TPE + ASHA from epoch 1, 4 at a time": Way("tpe", "asha", at_once=True, abreast=4),
}
SHARES = (1 / 6, 1 / 3, 2 / 3, 1)
"""Of the budget, after which the regret is shown."""


def main() -> None:
    """Record, or replay and print a row for each way to search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="train the trials in this run folder and write the table"
    )
    parser.add_argument("--table", choices=TABLES, help="only this one")
    parser.add_argument("--seeds", type=int, default=50)
    options = parser.parse_args()
    if options.record:
        record(options.table or parser.error("--record needs --table"), options.record)
        return
    with patch("os.fsync"):  # studies of seconds need not survive a power cut
        for name in [options.table] if options.table else TABLES:
            compare(name, Table.read(name), options.seeds)


@dataclass(frozen=True)
class Search:
    """One replayed search: epochs spent after each trial, and the best value until then."""

    epochs: Floats
    best: Floats

    def best_after(self, epochs: float) -> float:
        """The best value when so many epochs are spent; -inf before the first trial ended."""
        ended = np.flatnonzero(self.epochs <= epochs)
        return float(self.best[ended[-1]]) if len(ended) else -math.inf

    def reaches(self, value: float) -> tuple[float, float]:
        """Trials and epochs until a value is reached; infinite if it never is."""
        reached = np.flatnonzero(self.best >= value)
        return (float(reached[0] + 1), float(self.epochs[reached[0]])) if len(reached) else (math.inf, math.inf)


def replay(table: Table, name: str, seed: int) -> Search:
    """A search with one of the settings of `SEARCHES` and so many epochs as `TRIALS` trials have."""
    budget = TRIALS * table.experiment.trial.training.epochs
    way = SEARCHES[name]
    rules = {"sampler": way.sampler, "scheduler": way.scheduler, "seed": seed, "trials": budget}
    study_config = table.experiment.study.model_copy(update={**rules, "grace_epochs": 1 if way.at_once else None})
    experiment = table.experiment.model_copy(update={"study": study_config})
    first = published_points(experiment) if way.published else []
    with TemporaryDirectory() as folder, patch.dict(SAMPLERS["tpe"], constant_liar=way.liar):
        study = create_study(Path(folder) / "run", experiment, RunHeader(name), first)
        spent, best = zip(*trials(study, table.reader(), budget, way.abreast), strict=True)
        study.close()
    return Search(np.array(spent, float), np.maximum.accumulate(np.array(best, float)))


@dataclass
class Running:
    """A trial that is replayed: its recorded curve, and what the study was told of it."""

    task: Task
    curve: list[float]
    history: list[dict[str, float]]


def trials(
    study: Study, curve: Callable[[Task], list[float] | None], budget: int, abreast: int = 1
) -> Iterator[tuple[int, float]]:
    """Run a study on recorded curves, several trials at a time, each an epoch in turn: epochs spent until now and the
    value of each trial that ends, -inf if it did not complete."""
    spent, running = 0, list[Running]()
    while True:
        while len(running) < abreast and (task := study.ask()) and (known := curve(task)) is not None:
            running.append(Running(task, known, []))
        if not running:
            return
        for trial in tuple(running):
            if spent == budget:
                return
            spent += 1
            if (value := _step(study, trial)) is not None:
                running.remove(trial)
                yield spent, value


def _step(study: Study, trial: Running) -> float | None:
    """Tell the study of one more epoch: the trial's value if it ends with it."""
    task, history, epochs = trial.task, trial.history, study.experiment.trial.training.epochs
    if len(history) == len(trial.curve):
        study.fail(task.number, "diverged", 0.0, "replay")
        return -math.inf
    value = trial.curve[len(history)]
    history.append({"epoch": len(history) + 1, "objective_now": value, task.objective: value})
    if study.report(task.number, history[-1]):
        study.prune(task.number, 0.0, "replay")
        return -math.inf
    if len(history) < epochs:
        return None
    study.complete(task.number, history, 0.0, "replay")
    return max(record["objective_now"] for record in history)


def compare(name: str, table: Table, seeds: int) -> None:
    """Print a row for each way to search, and tell those whose target is half of random's epochs."""
    settled = grace_epochs(table.experiment)
    ways = [way for way, rules in SEARCHES.items() if settled > 1 or not rules.at_once]
    searches = {way: [replay(table, way, seed) for seed in range(seeds)] for way in ways}
    budget = TRIALS * table.experiment.trial.training.epochs
    value = float(np.mean([search.best[TRIALS - 1] for search in searches["random"]]))
    recorded = [max(curve) for curve in table.curves if curve]
    print(
        f"\n{name}: {len(table.curves)} recorded trials, best {max(recorded):.2f}, median {np.median(recorded):.2f};"
        f" {seeds} seeds; the first epoch after which schedulers stop trials: {settled}\n"
        f"mean best of {TRIALS} random trials: {value:.2f}\n"
    )
    heads = "".join(f"{f'{share * budget:.0f} epochs':>14}" for share in SHARES)
    print(f"{'search':<41}{heads}  {'reached':>7} {'median':>6} {'wins':>5}  used up")
    for way in ways:
        print(_line(way, searches[way], searches["random"], value, max(recorded), budget), flush=True)
        mean = [np.mean([search.best_after(spent) for search in searches[way]]) for spent in range(1, budget + 1)]
        first = next((spent for spent, best in enumerate(mean, start=1) if best >= value), math.inf)
        if way != "random":
            what, ours = f"{name.split('_')[0]}: {way}", f"{first} epochs to {value:.2f}"
            tell(Row(what, ours, f"random: {budget}", first / budget, "<= 0.333"))
    print(
        f"\nAfter so many epochs: the regret, by how much the mean best value is below the best recorded, and half\n"
        f"of its 95 % interval over seeds. reached: share of seeds that reach {value:.2f}; median: epochs\n"
        "until then (inf: fewer than half do); wins: share of seeds that end above random's; used up: share of seeds\n"
        "that had met every recorded trial before their epochs were spent."
    )


def _line(way: str, found: list[Search], random: list[Search], value: float, best: float, budget: int) -> str:
    """The row of a way to search."""
    regrets = ""
    for share in SHARES:
        regret = best - np.array([search.best_after(share * budget) for search in found])
        half = 1.96 * regret.std(ddof=1) / len(regret) ** 0.5 if np.isfinite(regret).all() else math.inf
        regrets += f"{f'{regret.mean():.2f} ± {half:.2f}':>14}"
    epochs = np.array([search.reaches(value)[1] for search in found])
    last, theirs = (np.array([search.best[-1] for search in searches]) for searches in (found, random))
    wins = np.mean((last > theirs) + 0.5 * (last == theirs))
    used_up = np.mean([search.epochs[-1] < budget for search in found])
    return (
        f"{way:<41}{regrets}  {np.isfinite(epochs).mean():>7.0%} {np.median(epochs):>6.0f} {wins:>5.2f}"
        f"  {used_up:>7.0%}"
    )


if __name__ == "__main__":
    main()
