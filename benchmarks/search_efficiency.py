"""How many trials and epochs a search needs until it is as good as the official protocol's 30 random trials are on
average.

    python -m benchmarks.search_efficiency                  replay of the recorded trials: a minute
    python -m benchmarks.search_efficiency --record DIR     train them: hours; goes on where it was stopped

Recorded are real trainings at random points of `tiny_imagenet_trials.yaml`, with the objective of every epoch, in
`tiny_imagenet_trials.csv`. In the replay our own study asks for points and is told, epoch by epoch, what the nearest
recorded training (in the unit cube of the space) showed that it has not been told of yet. Every search may spend as
many epochs as 30 trials take. The reference value is what 30 random trials reach on average over the seeds.

The table has 160 trials of six epochs; training more goes on from there. Their objective is counted on 200 images,
whose noise is about as large as what the settings change, and the first epoch says little about the best one: that is
why stopping early at epochs 1 and 3 does not help there.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.row import Row, tell
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import begin_study, create_study
from orchestrator.study.points import published_points
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from wsol.errors import Diverged

SPACE = Path(__file__).with_name("tiny_imagenet_trials.yaml")
TABLE = SPACE.with_suffix(".csv")
TRIALS = 30
SEARCHES = {
    "random": {"sampler": "random"},
    "TPE": {"sampler": "tpe"},
    "TPE, published point first": {"sampler": "tpe"},
    "TPE + ASHA, published point first": {"sampler": "tpe", "scheduler": "asha"},
}
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def main() -> None:
    """Record, or replay and print a row for each way to search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="train the trials in this run folder and write the table"
    )
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    if options.record:
        record(options.record)
    else:
        compare(Table.read(load_experiment(SPACE).experiment), options.seeds)


def record(folder: Path) -> None:
    """Train all trials in this process, one after the other; the table is written anew after each."""
    from wsol.training import train

    loaded = load_experiment(SPACE)
    known = (folder / "study.json").exists()
    study = Study(folder, loaded.experiment) if known else begin_study(folder, loaded, "search")
    while (task := study.ask()) is not None:
        started = time.perf_counter()
        try:
            history = train(
                task.config,
                task.folder,
                task.objective,
                lambda record, number=task.number: study.report(number, record) and None,
            )
        except Diverged as error:
            study.fail(task.number, str(error), time.perf_counter() - started, "here")
        else:
            study.complete(task.number, history, time.perf_counter() - started, "here")
        write_table(study)
        print(
            f"trial {task.number}: {study.trials()[task.number].values}, {time.perf_counter() - started:.0f} s",
            flush=True,
        )


def write_table(study: Study) -> None:
    """One row for each ended trial: its point, and the objective after each epoch it reached."""
    names, epochs = sorted(study.experiment.search), range(1, study.experiment.trial.training.epochs + 1)
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *(f"epoch {epoch}" for epoch in epochs)])
        for trial in study.trials():
            if trial.state.is_finished():
                curve = [trial.intermediate_values.get(epoch) for epoch in epochs]
                writer.writerow(
                    [
                        *(f"{trial.params[name]:.6g}" for name in names),
                        *("" if value is None else f"{value:.4f}" for value in curve),
                    ]
                )


@dataclass(frozen=True)
class Table:
    """Recorded trials: points (n, d) in the unit cube, and the objective of each epoch; a curve that ends early
    diverged."""

    experiment: Experiment
    points: Floats
    curves: list[list[float]]

    @classmethod
    def read(cls, experiment: Experiment) -> Table:
        """The table beside this file."""
        rows = list(csv.DictReader(TABLE.open()))
        points = np.array(
            [unit_point(experiment, {name: float(row[name]) for name in experiment.search}) for row in rows]
        )
        return cls(
            experiment,
            points,
            [[float(value) for name, value in row.items() if name.startswith("epoch") and value] for row in rows],
        )

    def reader(self) -> Callable[[Task], list[float]]:
        """What the nearest recorded trial showed that the same search has not met: to be told of one again would teach
        it nothing."""
        left = np.ones(len(self.points), bool)

        def curve(task: Task) -> list[float]:
            config = task.config.model_dump()
            here = unit_point(self.experiment, {name: at(config, name) for name in self.experiment.search})
            nearest = int(np.where(left, ((self.points - here) ** 2).sum(1), np.inf).argmin())
            left[nearest] = False
            return self.curves[nearest]

        return curve


def at(config: dict[str, object], path: str) -> float:
    """A number at a dotted path."""
    value: object = config
    for key in path.split("."):
        assert isinstance(value, dict)
        value = value[key]
    return float(value)  # type: ignore[arg-type]


def unit_point(experiment: Experiment, values: dict[str, float]) -> Floats:
    """Where a point lies in the unit cube: a log range by its logarithm."""
    place = []
    for name, range_ in sorted(experiment.search.items()):
        low, high, value = (
            math.log(x) if range_.log else x for x in (float(range_.low), float(range_.high), values[name])
        )  # type: ignore[arg-type]
        place.append((value - low) / (high - low))
    return np.array(place)


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
    wanted = table.experiment.study.model_copy(update={**SEARCHES[name], "seed": seed, "trials": budget})
    experiment = table.experiment.model_copy(update={"study": wanted})
    first = published_points(experiment) if "published" in name else []
    with TemporaryDirectory() as folder:
        study = create_study(Path(folder) / "run", experiment, RunHeader(name), first)
        spent, best = zip(*trials(study, table.reader(), budget), strict=True)
        study.close()
    return Search(np.array(spent, float), np.maximum.accumulate(np.array(best, float)))


def trials(study: Study, curve: Callable[[Task], list[float]], budget: int) -> Iterator[tuple[int, float]]:
    """Run a study on recorded curves: epochs spent until now and the value of each trial, -inf if it did not
    complete."""
    spent, epochs = 0, study.experiment.trial.training.epochs
    while spent < budget and (task := study.ask()) is not None:
        history: list[dict[str, float]] = []
        stopped = False
        for epoch, value in enumerate(curve(task)[: budget - spent], start=1):
            history.append({"epoch": epoch, "objective_now": value, task.objective: value})
            if stopped := study.report(task.number, history[-1]):
                break
        spent += max(len(history), 1)
        if stopped:
            study.prune(task.number, 0.0, "replay")
        elif len(history) == epochs:
            study.complete(task.number, history, 0.0, "replay")
        else:
            study.fail(task.number, "diverged", 0.0, "replay")
        complete = len(history) == epochs and not stopped
        yield spent, max(record["objective_now"] for record in history) if complete else -math.inf


def compare(table: Table, seeds: int) -> None:
    """Print a row for each way to search."""
    searches = {name: [replay(table, name, seed) for seed in range(seeds)] for name in SEARCHES}
    last = {name: np.array([search.best[-1] for search in found]) for name, found in searches.items()}
    value = float(np.mean([search.best[TRIALS - 1] for search in searches["random"]]))
    recorded = [max(curve) for curve in table.curves if curve]
    print(
        f"{len(table.curves)} recorded trials, best {max(recorded):.2f}, median {np.median(recorded):.2f}; {seeds}"
        " seeds"
    )
    print(f"mean best of {TRIALS} random trials: {value:.2f}\n")
    shares = (1 / 3, 2 / 3, 1)
    budget = TRIALS * table.experiment.trial.training.epochs
    heads = "".join(f"{share * budget:>6.0f}" for share in shares)
    print(
        f"{'':<34} {'mean best after epochs':>{len(heads)}}  {'reached':>7} {'trials':>7} {'epochs':>7}"
        f" {'wins':>5}\n{'search':<34} {heads}"
    )
    for name, found in searches.items():
        reached, count, epochs = statistics(found, value)
        wins = np.mean((last[name] > last["random"]) + 0.5 * (last[name] == last["random"]))
        means = "".join(f"{np.mean([search.best_after(share * budget) for search in found]):>6.2f}" for share in shares)
        print(f"{name:<34} {means}  {reached:>7.0%} {count:>7.1f} {epochs:>7.1f} {wins:>5.2f}")
        first = next(
            (
                spent
                for spent in range(1, budget + 1)
                if np.mean([search.best_after(spent) for search in found]) >= value
            ),
            math.inf,
        )
        if name != "random":
            tell(
                Row(f"search: {name}", f"{first} epochs to {value:.2f}", f"random: {budget}", first / budget, "<= 0.5")
            )
    print(
        "\nreached: share of seeds that reach that mean; trials, epochs: medians until then (inf: fewer than half do);"
        " wins: over random"
    )


def statistics(found: list[Search], value: float) -> tuple[float, float, float]:
    """Share of searches that reach a value, and the median trials and epochs of all."""
    counts = np.array([search.reaches(value) for search in found])
    return float(np.isfinite(counts[:, 0]).mean()), float(np.median(counts[:, 0])), float(np.median(counts[:, 1]))


if __name__ == "__main__":
    main()
