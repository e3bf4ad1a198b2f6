"""Run folders that were tested, with replicates, as `compare` reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

METRIC = "max_box_acc_v2"
SHA = "c0ffee00" * 8


def config(**changes: Any) -> dict[str, Any]:
    """The configuration of a run on CUB as `best/result.json` has it."""
    evaluation = {
        "extractor": {"name": "cam"},
        "normalizer": {"name": "min_max"},
        "metrics": [{"name": METRIC}, {"name": "top1", "contours": "largest"}],
    }
    data = {"name": "cub", "root": "data", "image_size": 224, "cache": "auto", "workers": 4}
    own = {
        "seed": 0,
        "initial_run": None,
        "method": {"name": "cam"},
        "backbone": {"name": "resnet50"},
        "data": data,
        "evaluation": evaluation,
    }
    return {**own, **changes}


def make_run(
    folder: Path,
    value: float,
    spread: float = 1.0,
    images: str = "a",
    step: float = 0.001,
    draws: int = 0,
    boxes: str = "",
    imported: dict[str, str] | None = None,
    **changes: Any,
) -> Path:
    """A tested run with replicates around its value; those of runs with equal `draws` move alike. With `boxes`, the
    images that it was trained on with theirs; `imported` is where the weights are from, if not trained here."""
    (folder / "best").mkdir(parents=True, exist_ok=True)
    if not (folder / "study.json").exists():
        (folder / "study.json").write_text(
            json.dumps(
                {
                    "study_name": folder.name,
                    "kind": "train",
                    "ended": "2026-01-05T10:00:00+00:00",
                    "objective": f"train_fullsup/{METRIC}",
                }
            )
        )
    result = {"trial": 0, "objective": f"train_fullsup/{METRIC}", "checkpoint_sha256": SHA, "config": config(**changes)}
    if boxes:
        result.update(uses_boxes=True, training_images=boxes)
    if imported:
        result["imported"] = imported
    (folder / "best" / "result.json").write_text(
        json.dumps({**result, "train_fullsup": {}, "intervals": {}, "baseline": {}})
    )
    metrics = {METRIC: value, "gt_known/loc": value, "top1/loc": value - 10}
    entry = {"checkpoint_sha256": SHA, "metrics": metrics, "baseline": {METRIC: 56.8}, "intervals": {}}
    (folder / "test.json").write_text(json.dumps({"evaluations": [entry]}))
    moves = np.random.default_rng(draws).normal(0, spread, 1000)
    arrays = {f"replicates:{name}": value + moves for name in metrics}
    np.savez(folder / "best" / "scores-test.npz", images=np.array(images), threshold_step=np.array(step), **arrays)
    return folder


def seeds(root: Path, name: str, values: tuple[float, ...], **changes: Any) -> list[Path]:
    """Runs of one configuration with the seeds 0, 1, ..."""
    return [make_run(root / f"{name}{seed}", value, seed=seed, **changes) for seed, value in enumerate(values)]
