"""Finished runs with a winner of random weights, without a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from orchestrator.formats import to_yaml
from orchestrator.runs import names
from orchestrator.runs.result import WinnerResult, write_result
from wsol import build
from wsol.checkpoint import write_state
from wsol.config import TrainConfig


def export_random(
    folder: Path, config: TrainConfig, classes: int, class_names: Sequence[str] = (), **train_fullsup: float
) -> Path:
    """The files of `best/`, with these results on train_fullsup; without the names of the classes as older versions
    wrote them."""
    (folder / names.WINNER).mkdir(parents=True)
    torch.manual_seed(0)
    state = build.bare_method(config, classes).state_dict()
    digest = write_state(folder / names.WINNER_WEIGHTS, {"method": state})
    (folder / names.WINNER_CONFIG).write_text(to_yaml(config.model_dump(mode="json")))
    result = WinnerResult("train_fullsup/max_box_acc_v2", digest, train_fullsup, {}, {}, class_names=tuple(class_names))
    write_result(folder, result)
    return folder
