"""Recorded trainings at random points of a space, with the objective of every epoch: the tables that
`benchmarks/search_efficiency.py` replays, and how they are made."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.runs import names
from orchestrator.runs.by_image import ImageNumbers, pack
from orchestrator.runs.folder import open_experiment
from orchestrator.study.begin import begin_study
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from wsol.errors import Diverged

RECORDED = Path(__file__).parent / "recorded"
"""A folder for each table: `space.yaml`, `trials.csv`, and, where `scheduler: race` can be replayed, `study.images`."""
TABLES = tuple(sorted(path.parent.name for path in RECORDED.glob("*/trials.csv")))
SPACES = tuple(sorted(path.parent.name for path in RECORDED.glob("*/space.yaml")))
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def record(name: str, folder: Path, words: Sequence[str] = ()) -> None:
    """Train all trials of a space in this process, one after the other; the table is written anew after each.

    Args:
        name: one of `SPACES`.
        folder: the run folder; one that is begun goes on as it began.
        words: `KEY=VALUE`, changes of the space where it begins, such as where the images are.
    """
    from wsol.training import train

    if (folder / names.HEADER).exists():
        study = Study(folder, open_experiment(folder))
    else:
        study = begin_study(folder, load_experiment(RECORDED / name / "space.yaml", list(words)), "search")
    while (task := study.ask()) is not None:
        started, images = time.perf_counter(), [""]
        try:
            history = train(
                task.config,
                task.folder,
                task.objective,
                lambda record, number=task.number, images=images: study.report(number, record, images[0]) and None,
                by_image=lambda numbers, images=images: images.__setitem__(0, pack(numbers)),
            )
        except Diverged as error:
            study.fail(task.number, str(error), time.perf_counter() - started, "here")
        else:
            study.complete(task.number, history, time.perf_counter() - started, "here")
        write_table(RECORDED / name, study)
        print(
            f"trial {task.number}: {study.trials()[task.number].values}, {time.perf_counter() - started:.0f} s",
            flush=True,
        )


def write_table(place: Path, study: Study) -> None:
    """One row for each ended trial: its point, and the objective after each epoch it reached. The numbers of single
    images go beside it, under the number of the row."""
    searched, epochs = sorted(study.experiment.search), range(1, study.experiment.trial.training.epochs + 1)
    numbers = ImageNumbers(study.folder)
    (place / names.IMAGE_NUMBERS).unlink(missing_ok=True)
    kept = ImageNumbers(place)
    with (place / "trials.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*searched, *(f"epoch {epoch}" for epoch in epochs)])
        for row, trial in enumerate(trial for trial in study.trials() if trial.state.is_finished()):
            curve = [trial.intermediate_values.get(epoch) for epoch in epochs]
            writer.writerow(
                [
                    *(f"{trial.params[path]:.6g}" for path in searched),
                    *("" if value is None else f"{value:.4f}" for value in curve),
                ]
            )
            for epoch in epochs:
                if found := numbers.packed(trial.number, epoch):
                    kept.add(row, epoch, found)


@dataclass(frozen=True)
class Table:
    """Recorded trials.

    Attributes:
        experiment: their space.
        points: (n, d) in the unit cube; the first one is the published point.
        curves: the objective of each epoch; a curve that ends early diverged.
        images: what each image adds to the objective, by row and epoch; of some tables there are none.
    """

    experiment: Experiment
    points: Floats
    curves: list[list[float]]
    images: ImageNumbers

    @classmethod
    def read(cls, name: str) -> Table:
        """One of `TABLES`."""
        experiment = load_experiment(RECORDED / name / "space.yaml").experiment
        with (RECORDED / name / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
        points = np.array(
            [unit_point(experiment, {path: float(row[path]) for path in experiment.search}) for row in rows]
        )
        curves = [[float(value) for key, value in row.items() if key.startswith("epoch") and value] for row in rows]
        return cls(experiment, points, curves, ImageNumbers(RECORDED / name))

    @property
    def has_images(self) -> bool:
        """Whether `scheduler: race` can be replayed."""
        return self.images.packed(0, 1) != ""

    def reader(self) -> Callable[[Task], int | None]:
        """The row of the nearest recorded trial that the same search has not met: to be told of one again would teach
        it nothing. None when all were met."""
        left = np.ones(len(self.points), bool)
        left[0] = False

        def row(task: Task) -> int | None:
            if task.origin == "published point":
                return 0
            if not left.any():
                return None
            config = task.config.model_dump()
            here = unit_point(self.experiment, {path: at(config, path) for path in self.experiment.search})
            nearest = int(np.where(left, ((self.points - here) ** 2).sum(1), np.inf).argmin())
            left[nearest] = False
            return nearest

        return row


def at(config: dict[str, object], path: str) -> float:
    """A number at a dotted path."""
    value: object = config
    for key in path.split("."):
        assert isinstance(value, dict)
        value = value[key]
    return float(value)  # type: ignore[arg-type]


def unit_point(experiment: Experiment, values: dict[str, float]) -> Floats:
    """Where a point lies in the unit cube: of a log range by its logarithm, of choices by their order."""
    place = []
    for path, drawn in sorted(experiment.search.items()):
        value = values[path]
        if drawn.choices is not None:
            place.append(drawn.choices.index(value) / (len(drawn.choices) - 1))
            continue
        low, high, here = (math.log(x) if drawn.log else x for x in (float(drawn.low), float(drawn.high), value))  # type: ignore[arg-type]
        place.append((here - low) / (high - low))
    return np.array(place)
