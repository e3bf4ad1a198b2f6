"""Recorded trainings at random points of a space, with the objective of every epoch: the tables that
`benchmarks/search_efficiency.py` replays, and how they are made."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.study.begin import begin_study
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from wsol.errors import Diverged

HERE = Path(__file__).parent
TABLES = ("synthetic_has_trials", "tiny_imagenet_trials")
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def record(table: str, folder: Path) -> None:
    """Train all trials in this process, one after the other; the table is written anew after each."""
    from wsol.training import train

    loaded = load_experiment(HERE / f"{table}.yaml")
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
        write_table(HERE / f"{table}.csv", study)
        print(
            f"trial {task.number}: {study.trials()[task.number].values}, {time.perf_counter() - started:.0f} s",
            flush=True,
        )


def write_table(path: Path, study: Study) -> None:
    """One row for each ended trial: its point, and the objective after each epoch it reached."""
    names, epochs = sorted(study.experiment.search), range(1, study.experiment.trial.training.epochs + 1)
    with path.open("w", newline="") as file:
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
    diverged. The first one is the published point."""

    experiment: Experiment
    points: Floats
    curves: list[list[float]]

    @classmethod
    def read(cls, name: str) -> Table:
        """One of the tables beside this file."""
        experiment = load_experiment(HERE / f"{name}.yaml").experiment
        with (HERE / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        points = np.array(
            [unit_point(experiment, {name: float(row[name]) for name in experiment.search}) for row in rows]
        )
        return cls(
            experiment,
            points,
            [[float(value) for name, value in row.items() if name.startswith("epoch") and value] for row in rows],
        )

    def reader(self) -> Callable[[Task], list[float] | None]:
        """What the nearest recorded trial showed that the same search has not met: to be told of one again would teach
        it nothing. None when all were met."""
        left = np.ones(len(self.points), bool)
        left[0] = False

        def curve(task: Task) -> list[float] | None:
            if task.origin == "published point":
                return self.curves[0]
            if not left.any():
                return None
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
