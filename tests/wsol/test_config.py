"""Numbers of a configuration: what a machine's numbers cannot hold is refused at the field, not where it is used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from wsol.config import LARGEST_SEED, EvaluationConfig, OptimConfig, TrainConfig, TrainingConfig
from wsol.contract.numbers import beyond, number_fields, refuses
from wsol.data.dataset import seeded_generator
from wsol.schema import Strict
from wsol.training import _seed

TRAIN: dict[str, Any] = {"method": {"name": "cam"}, "backbone": {"name": "tiny"}, "data": {"name": "synthetic"}}


MODELS: list[type[Strict]] = [OptimConfig, TrainingConfig, EvaluationConfig, TrainConfig]


@pytest.mark.parametrize(("model", "name", "kind"), [case for model in MODELS for case in number_fields(model)])
def test_no_field_takes_what_its_numbers_cannot_hold(model: type[Strict], name: str, kind: type) -> None:
    for value in beyond(kind):
        refuses(model, name, value, TRAIN if model is TrainConfig else {})


@pytest.mark.parametrize(
    ("value", "message"),
    [(1e308, "beyond 32-bit floats"), (1e-60, "beyond 32-bit floats")],
)
def test_the_message_says_the_limit(value: float, message: str) -> None:
    with pytest.raises(ValidationError, match=rf"head_lr_scale\n.*{message}"):
        OptimConfig(head_lr_scale=value)
    with pytest.raises(ValidationError, match=r"batch_size\n.*64-bit whole numbers"):
        TrainingConfig(batch_size=10**20)


def test_every_seed_that_is_taken_can_be_used() -> None:
    config = TrainConfig.model_validate({**TRAIN, "seed": LARGEST_SEED})
    _seed(config.seed, epoch=10**6, rank=1000)
    assert torch.initial_seed() < 2**64
    seeded_generator("train", config.seed, 1)
    with pytest.raises(ValidationError, match="seed"):
        TrainConfig.model_validate({**TRAIN, "seed": LARGEST_SEED + 1})


def test_thresholds_that_fill_the_memory_are_refused() -> None:
    EvaluationConfig(threshold_step=1e-4)
    with pytest.raises(ValidationError, match="threshold_step"):
        EvaluationConfig(threshold_step=1e-9)
