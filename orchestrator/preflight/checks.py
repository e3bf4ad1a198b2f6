"""Everything that is asked before anything is written or started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.preflight.forecast import require_disk_for

if TYPE_CHECKING:
    from wsol.method import Method


def check_runnable(experiment: Experiment, folder: Path) -> None:
    """Read the data, decode what will be cached, try the metrics, build the model once, ask for room, before anything
    is written or started."""
    check_data(experiment)
    require_disk_for(experiment, check_model(experiment), folder)


def check_data(experiment: Experiment) -> None:
    """The part of `check_runnable` that runs with the same data set and metrics share."""
    from wsol import build
    from wsol.evaluation import require_countable

    config = experiment.trial
    dataset = build.dataset(config.data)
    build.images(dataset, "train_weaksup", config.data)
    for split in ("train_fullsup", "test"):
        require_countable(build.images(dataset, split, config.data), config.evaluation)


def check_model(experiment: Experiment) -> Method:
    """Build the model once, and look for the blocks that are evaluated; returns it."""
    from wsol import build
    from wsol.evaluation import require_blocks

    config = experiment.trial
    settings = [setting.evaluation for _, setting in post_hoc_settings(config, experiment.post_hoc)]
    method = build.method(config, build.dataset(config.data).num_classes)
    require_blocks(method, settings)
    return method
