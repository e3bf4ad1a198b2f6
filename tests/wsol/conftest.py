"""Images, configurations and networks for the tests of what training and evaluation do with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.experiment.load import load_experiment
from tests.support.coloured_images import COLOURS, write_images
from wsol import build
from wsol.config import EvaluationConfig, TrainConfig
from wsol.data.images import ImageStore
from wsol.method import Method


@pytest.fixture
def plain_colours(tmp_path: Path) -> Path:
    """Seven images of one colour each: crops and flips do not change them."""
    write_images(tmp_path / "colours", [np.full((16, 16, 3), colour, np.uint8) for colour in COLOURS])
    return tmp_path / "colours"


@pytest.fixture
def config(space_file: Path) -> TrainConfig:
    """Of one trial of the tiny search."""
    return load_experiment(space_file).experiment.trial


@pytest.fixture
def scene(config: TrainConfig) -> tuple[Method, ImageStore, EvaluationConfig]:
    """A network that was not trained, the images of train_fullsup, and how they are evaluated."""
    dataset = build.dataset(config.data)
    torch.manual_seed(0)
    return (
        build.method(config, dataset.num_classes),
        build.images(dataset, "train_fullsup", config.data),
        config.evaluation,
    )
