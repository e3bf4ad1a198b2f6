"""Studies without a training."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from tests.support.tiny import TINY
from wsol.config import TrainConfig

EPOCHS = 9


SEARCH = {
    "optim.lr": {"low": 0.001, "high": 0.1, "log": True},
    "optim.head_lr_scale": {"low": 1.0, "high": 10.0},
    "optim.momentum": {"low": 0.0, "high": 0.9},
}


def experiment(**sections: Any) -> Experiment:
    """The tiny experiment with other sections; `trial` is a mapping of dotted paths."""
    values = {**copy.deepcopy(TINY), "search": SEARCH, **sections}
    values["trial"] = {
        **copy.deepcopy(TINY["trial"]),
        "training": {"epochs": EPOCHS, "batch_size": 4},
        **sections.get("trial", {}),
    }
    return Experiment.model_validate(values)


def create(folder: Path, of: Experiment) -> Study:
    return create_study(folder, of, RunHeader("tiny"))


def rising(config: TrainConfig) -> list[float]:
    """Higher near a learning rate of 0.02 and a momentum of 0.5; the best epoch is the last but one."""
    height = 80 - 10 * abs(math.log10(config.optim.lr / 0.02)) - 20 * abs(config.optim.momentum - 0.5)
    curve = [height * (1 - 0.5**epoch) for epoch in range(1, config.training.epochs + 1)]
    return [*curve[:-1], curve[-2] - 1]
