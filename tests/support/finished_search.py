"""Run folders of finished searches: trials, a winner, its test, pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from optuna.trial import TrialState

from orchestrator.pictures.drawing import map_overlay, photo_with_boxes, save_jpeg
from tests.support.recorded_runs import complete_trial, fail_trial, make_run, start_trial
from tests.support.tiny import OBJECTIVE

SHA = "c0ffee00" * 8


def add_winner(folder: Path, number: int, test_value: float = 61.37) -> None:
    """The files of a finished search."""
    (folder / "best").mkdir()
    scores = {
        "max_box_acc_v2": 64.25,
        "max_box_acc_v2/iou_50": 71.5,
        "max_box_acc_v2/threshold_50": 0.21,
        "top1/cls": 77.0,
    }
    baseline = {"train_fullsup": {"max_box_acc_v2": 50.0}}
    result = {
        "trial": number,
        "epoch": 2,
        "objective": OBJECTIVE,
        "value": 64.25,
        "checkpoint_sha256": SHA,
        "config": {"seed": 3},
    }
    (folder / "best" / "result.json").write_text(json.dumps({**result, "train_fullsup": scores, "baseline": baseline}))
    evaluation = {"time": "2026-01-05T11:00:00+00:00", "checkpoint_sha256": SHA, "reason": None, "config": {}}
    (folder / "test.json").write_text(
        json.dumps(
            {
                "evaluations": [
                    {**evaluation, "metrics": {"max_box_acc_v2": test_value}, "baseline": {"max_box_acc_v2": 52.25}}
                ]
            }
        )
    )


def add_examples(folder: Path, number: int, side: int = 48) -> None:
    """Pictures of noise."""
    rng, entries = np.random.default_rng(0), []
    (folder / "best").mkdir(exist_ok=True)
    box = np.array([4, 6, side - 9, side - 5])
    for index in range(number):
        image, scores = rng.integers(0, 256, (side, side, 3)).astype(np.uint8), rng.random((side, side))
        save_jpeg(folder / "best" / f"{index}_photo.jpg", photo_with_boxes(image, box[None]))
        save_jpeg(folder / "best" / f"{index}_map.jpg", map_overlay(image, scores, box + 2, box[None]))
        names = {
            "image_id": f"test/<{index}>.jpg",
            "class_name": "gull & tern",
            "photo": f"{index}_photo.jpg",
            "map": f"{index}_map.jpg",
        }
        entries.append({**names, "iou": 0.684, "threshold": 0.2})
    (folder / "best" / "examples.json").write_text(json.dumps(entries))


def make_finished(folder: Path) -> Path:
    """Complete, pruned and failed trials, a winner, its test, pictures."""
    study = make_run(folder, ended="2026-01-05T11:30:00+00:00")
    for value in (55.5, 60.125, 63.875, 58.0, 61.0):
        complete_trial(study, value)
    fail_trial(study)
    fail_trial(study, "Traceback (most recent call last):\n  File <b>\nDiverged: the loss is nan")
    study.tell(start_trial(study, (40.0, 45.75)), state=TrialState.PRUNED)
    (folder / "experiment.yaml").write_text("trial: {seed: 3}  # <kept>\n")
    (folder / "best.yaml").write_text("trial: {seed: 3}\n")
    add_winner(folder, number=2)
    add_examples(folder, 3)
    return folder
