"""How many trials and epochs a search needs until it is as good as the official protocol's 30 random trials are on
average.

    python -m benchmarks.search_efficiency                  replay of the recorded trials, all tables
    python -m benchmarks.search_efficiency --table has_tiny_imagenet --seeds 20
    python -m benchmarks.search_efficiency --table cam_cub --record DIR data.images=... data.metadata=...
                                                            train them: hours; goes on where it was stopped

Recorded are real trainings at random points of a space, with the objective of every epoch, in a table beside its file
(`benchmarks/recorded/`); its first row is the published point. In the replay our own study asks for points and is told,
epoch by epoch, what the nearest recorded training (in the unit cube of the space) showed that it has not been told of
yet; only the published point is told of the first row. Every search may spend as many epochs as 30 trials take, and
ends earlier if the table is used up. The reference value is what 30 random trials reach on average over the seeds.

The spaces say what they are. In `has_tiny_imagenet` nothing matters: its ranges are narrow, the objective is counted on
200 images, whose noise is about as large as what the settings change, and the first epoch says little about the best
one. In the others the learning rate spans the five decades of the protocol, and most of it learns nothing. Before the
rate decays our schedulers stop nothing unless `study.grace_epochs` says so; the searches "from epoch 1" have 1 there.

`scheduler: race` compares single images, and is replayed where their numbers were recorded.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from benchmarks.recorded_trials import SPACES, TABLES, Floats, Table, record
from benchmarks.row import Row, tell
from orchestrator.experiment.grace import grace_epochs
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.points import published_points
from orchestrator.study.pruners import DEFAULT_RISK
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
    "random + race": Way("random", "race"),
    "random + race from epoch 1": Way("random", "race", at_once=True),
    "TPE": Way("tpe"),
    "TPE + ASHA": Way("tpe", "asha"),
    "TPE + ASHA from epoch 1": Way("tpe", "asha", at_once=True),
    "TPE + race": Way("tpe", "race"),
    "TPE + race from epoch 1": Way("tpe", "race", at_once=True),
    "TPE, published point first": Way("tpe", published=True),
    "TPE + ASHA, published point first": Way("tpe", "asha", published=True),
    "TPE + ASHA from epoch 1, published first": Way("tpe", "asha", published=True, at_once=True),
    "TPE + race, published point first": Way("tpe", "race", published=True),
    "TPE + race from epoch 1, published first": Way("tpe", "race", published=True, at_once=True),
    "TPE, 4 at a time": Way("tpe", abreast=4),
    "TPE, 4 at a time, no liar": Way("tpe", abreast=4, liar=False),
    "TPE + ASHA from epoch 1, 4 at a time": Way("tpe", "asha", at_once=True, abreast=4),
}
DEFAULT = "TPE + race from epoch 1, published first"
"""Of our own spaces, such as `search_spaces/synthetic.yaml`."""
MATTERS = ("has_synthetic", "crop_synthetic")
"""The tables in which a search without the published point should need a third of random's epochs."""
SHARES = (1 / 6, 1 / 3, 2 / 3, 1)
"""Of the budget, after which the regret is shown."""


def main() -> None:
    """Record, or replay and print a row for each way to search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="train the trials in this run folder and write the table"
    )
    parser.add_argument("--table", choices=SPACES, help="only this one")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="where a recording begins: changes of the space")
    options = parser.parse_args()
    if options.record:
        record(options.table or parser.error("--record needs --table"), options.record, options.words)
        return
    with patch("os.fsync"):  # studies of seconds need not survive a power cut
        for name in [options.table] if options.table else TABLES:
            compare(name, Table.read(name), options.seeds)


@dataclass(frozen=True)
class Search:
    """One replayed search.

    Attributes:
        epochs: spent after each trial.
        best: the best value after each trial.
        stopped: how many trials were stopped.
        better: how many trials would have been better than all before, had nothing stopped them.
        lost: how many of these were stopped.
    """

    epochs: Floats
    best: Floats
    stopped: int
    better: int
    lost: int

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
        ended = list(trials(study, table, budget, way.abreast))
        study.close()
    best = np.maximum.accumulate([trial.value for trial in ended])
    better = [now for now, before in zip(ended[1:], best, strict=False) if now.whole > before > -math.inf]
    spent = np.array([trial.spent for trial in ended], float)
    stopped, lost = (sum(trial.stopped for trial in some) for some in (ended, better))
    return Search(spent, best, stopped, len(better), lost)


@dataclass
class Running:
    """A trial that is replayed: its row of the table, and what the study was told of it."""

    task: Task
    row: int
    history: list[dict[str, float]]


@dataclass(frozen=True)
class Ended:
    """A trial that has ended: the epochs spent until then by all, its value, -inf if it did not complete, the value it
    would have had in the end, and whether it was stopped."""

    spent: int
    value: float
    whole: float
    stopped: bool


def trials(study: Study, table: Table, budget: int, abreast: int = 1) -> Iterator[Ended]:
    """Run a study on recorded curves, several trials at a time, each an epoch in turn; each trial that ends."""
    spent, running, nearest = 0, list[Running](), table.reader()
    while True:
        while len(running) < abreast and (task := study.ask()) and (row := nearest(task)) is not None:
            running.append(Running(task, row, []))
        if not running:
            return
        for trial in tuple(running):
            if spent == budget:
                return
            spent += 1
            if (end := _step(study, table, trial)) is not None:
                running.remove(trial)
                yield Ended(spent, *end)


def _step(study: Study, table: Table, trial: Running) -> tuple[float, float, bool] | None:
    """Tell the study of one more epoch: if the trial ends with it, what `Ended` says of it."""
    task, history, curve = trial.task, trial.history, table.curves[trial.row]
    epochs = study.experiment.trial.training.epochs
    whole = max(curve) if len(curve) == epochs else -math.inf
    if len(history) == len(curve):
        study.fail(task.number, "diverged", 0.0, "replay")
        return -math.inf, whole, False
    value = curve[len(history)]
    history.append({"epoch": len(history) + 1, "objective_now": value, task.objective: value})
    if study.report(task.number, history[-1], table.images.packed(trial.row, len(history))):
        study.prune(task.number, 0.0, "replay")
        return -math.inf, whole, True
    if len(history) < epochs:
        return None
    study.complete(task.number, history, 0.0, "replay")
    return whole, whole, False


def compare(name: str, table: Table, seeds: int) -> None:
    """Print a row for each way to search, and tell those that have a target."""
    settled = grace_epochs(table.experiment)
    ways = [
        way
        for way, rules in SEARCHES.items()
        if (settled > 1 or not rules.at_once) and (rules.scheduler != "race" or table.has_images)
    ]
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
    print(f"{'search':<41}{heads}  {'reached':>7} {'median':>6} {'wins':>5}  used up  lost")
    for way in ways:
        print(_line(way, searches[way], searches["random"], value, max(recorded), budget), flush=True)
    tell_rows(name, searches, value, budget)
    print(
        f"\nAfter so many epochs: the regret, by how much the mean best value is below the best recorded, and half\n"
        f"of its 95 % interval over seeds. reached: share of seeds that reach {value:.2f}; median: epochs\n"
        "until then (inf: fewer than half do); wins: share of seeds that end above random's; used up: share of seeds\n"
        "that had met every recorded trial before their epochs were spent; lost: of all trials that were stopped, in\n"
        "all seeds, and of those that would have been better than all before them, how many are both."
    )


def tell_rows(name: str, searches: dict[str, list[Search]], value: float, budget: int) -> None:
    """Tell, where settings matter, when the quickest search without the published point reaches a value; of the default
    of our own spaces, how far it is behind random at worst, and how often it stopped what would have been the best."""
    if name in MATTERS:
        median = {
            way: float(np.median([search.reaches(value)[1] for search in found]))
            for way, found in searches.items()
            if not SEARCHES[way].published and SEARCHES[way].abreast == 1
        }
        quickest = min(median, key=median.__getitem__)
        ours = f"{median[quickest]:.0f} epochs to {value:.2f}"
        tell(Row(f"{name}: {quickest}, median", ours, f"random: {budget}", median[quickest] / budget, "<= 0.333"))
    if DEFAULT in searches:
        ours, theirs = (
            [np.mean([search.best_after(share * budget) for search in searches[way]]) for share in SHARES]
            for way in (DEFAULT, "random")
        )
        behind, best, random = max((their - our, our, their) for our, their in zip(ours, theirs, strict=True))
        tell(Row(f"{name}: {DEFAULT}", f"best {best:.2f}", f"random: {random:.2f}", float(behind), "<= 0", "points"))
        stopped, _, lost = _stops(searches[DEFAULT])
        share, most = 100 * lost / max(1, stopped), f"<= {100 * DEFAULT_RISK:g}"
        tell(Row(f"{name}: its false stops", f"{lost} would be best", f"{stopped} stopped", share, most, "%"))


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
    used_up, (stopped, better, lost) = np.mean([search.epochs[-1] < budget for search in found]), _stops(found)
    return (
        f"{way:<41}{regrets}  {np.isfinite(epochs).mean():>7.0%} {np.median(epochs):>6.0f} {wins:>5.2f}"
        f"  {used_up:>7.0%}  {lost} of {stopped} and {better}"
    )


def _stops(found: list[Search]) -> tuple[int, int, int]:
    """Of all searches: trials that were stopped, that would have been better than all before, and that are both."""
    sums = np.sum([(search.stopped, search.better, search.lost) for search in found], axis=0)
    return int(sums[0]), int(sums[1]), int(sums[2])


if __name__ == "__main__":
    main()
