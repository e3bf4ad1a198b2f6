"""A campaign of four cells over the tiny search space, and machines that train its trials in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from orchestrator.runs.journal import open_study
from orchestrator.study.interleaved import Interleaved
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from orchestrator.winner.measure import MeasureRequest
from wsol import training
from wsol.errors import Diverged

FILE: dict[str, Any] = {
    "methods": {"cam": {"file": "tiny.yaml"}, "has": {"file": "tiny.yaml", "variant": "has"}},
    "backbones": {"narrow": {}, "wide": {"set": {"backbone.width": 8}}},
    "datasets": ["synthetic"],
    "trials": 3,
    "set": {"training.epochs": 1},
}
"""A campaign file; `tiny.yaml` beside it has a variant `has`."""

CELLS = ["cam-narrow", "has-narrow", "cam-wide", "has-wide"]


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**copy.deepcopy(FILE), **changes}, sort_keys=False))
    return path


class Machines:
    """Trains in this process what a campaign or a search asks for; `budget` trials, then the power fails in the middle
    of one."""

    def __init__(self) -> None:
        self.budget = 1000
        self.trained: list[str] = []
        self.measured: list[tuple[str, str]] = []
        self.train: Callable[[Task], list[dict[str, float]]] = lambda task: training.train(
            task.config, task.folder, task.objective
        )

    def run_trials(self, queue: Interleaved | Study, plan: object, progress: Any, *others: object) -> None:
        while (task := queue.ask()) is not None:
            progress.start(task.number, queue.planned)
            if self.budget == 0:
                raise KeyboardInterrupt
            self.budget -= 1
            of = queue.place(task.number) if isinstance(queue, Interleaved) else ("search", task.number)
            self.trained.append("{} {}".format(*of))
            try:
                history = self.train(task)
            except Diverged as error:
                queue.fail(task.number, str(error), 1.0, "here")
                progress.fail(task.number, str(error))
            else:
                if reason := queue.complete(task.number, history, 1.0, "here"):
                    progress.fail(task.number, reason)
                else:
                    progress.complete(task.number, queue.value(task.number))

    def on_ray(self, plan: object, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def here(request: object) -> Any:
            if isinstance(request, MeasureRequest):
                self.measured.append((request.folder.name, request.split))
            return function(request)

        return here


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder).trials]
