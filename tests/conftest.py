"""Shared fixtures: a search-space file of seconds, on rendered images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture
def space_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny search-space file in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY, sort_keys=False))
    return path
