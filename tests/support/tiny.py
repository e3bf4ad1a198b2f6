"""A search of seconds on rendered images, and what running the command line looks like in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsol.config import TrainConfig

Launch = Callable[..., tuple[int, str, str]]
"""Words of `launch.py` -> exit code, output, errors; see the fixture `launch`."""

TINY = {
    "trial": {
        "method": {"name": "cam"},
        "backbone": {"name": "tiny", "stride": 8, "width": 4},
        "data": {
            "name": "synthetic",
            "classes": 2,
            "train_images": 8,
            "fullsup_images": 4,
            "test_images": 3,
            "side": 32,
            "image_size": 32,
            "resize_size": 36,
        },
        "optim": {"lr": 0.01},
        "training": {"epochs": 2, "batch_size": 4},
        "evaluation": {"threshold_step": 0.01},
    },
    "search": {"optim.lr": {"low": 0.001, "high": 0.1, "log": True}},
    "study": {"trials": 3},
}

OBJECTIVE = "train_fullsup/max_box_acc_v2"


def changed(config: TrainConfig, section: str, **values: object) -> TrainConfig:
    """A configuration with other values in one of its sections."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})
