"""After the search: export the winner, measure it again on train_fullsup, and evaluate the test split once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import runs
from orchestrator.study import Study, trial_folder
from wsol.checkpoint import Checkpoints, read_state, write_state
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.files import sha256, write_text

EXAMPLES = 24

Measure = Callable[[dict[str, Any]], dict[str, Any]]
"""Runs `measure` somewhere: here, or on a node with a GPU."""


def export_winner(study: Study, folder: Path) -> dict[str, Any] | None:
    """Copy the best trial's best checkpoint to `best/` and write `best.yaml`; returns what `best/result.json` begins with, None without a winner."""
    trial = study.best()
    if trial is None:
        return None
    best, checkpoints = folder / "best", Checkpoints(trial_folder(folder, trial.number))
    if checkpoints.best is None:
        raise InputError(f"{checkpoints.folder}: the winner's checkpoint is missing")
    config = study.config_of(trial)
    best.mkdir(exist_ok=True)
    digest = write_state(best / "weights.pt", {"method": checkpoints.load(checkpoints.best)["method"]})
    plain = config.model_dump(mode="json")
    write_text(best / "config.yaml", runs.to_yaml(plain))
    whole = {**study.experiment.model_dump(mode="json"), "trial": plain, "search": {}}
    write_text(folder / "best.yaml", f"# Trial {trial.number} of {folder.name}: python launch.py train {folder / 'best.yaml'}\n{runs.to_yaml(whole)}")
    return {
        "trial": trial.number,
        "epoch": checkpoints.best.epoch,
        "objective": study.experiment.study.objective,
        "value": trial.value,
        "checkpoint_sha256": digest,
        "config": plain,
    }


def finish(study: Study, folder: Path, measure_at: Measure, *, test: bool) -> dict[str, Any] | None:
    """Export and measure the winner; with `test`, evaluate the test split unless that was done before. Returns `best/result.json`."""
    result = export_winner(study, folder)
    if result is None:
        return None
    measured = measure_at({"folder": str(folder), "split": "train_fullsup", "pictures": True})
    result["train_fullsup"], baseline = measured["metrics"], measured["baseline"]
    result["baseline"] = {"train_fullsup": baseline}
    _require_same(result)
    if test and not runs.tested(folder):
        result["baseline"]["test"] = evaluate_test(folder, measure_at, result["train_fullsup"], None)["baseline"]
    write_text(folder / "best" / "result.json", json.dumps(result, indent=1))
    return result


def evaluate_test(folder: Path, measure_at: Measure, chosen: dict[str, float], reason: str | None) -> dict[str, Any]:
    """Evaluate the winner on the test split and record it.

    Args:
        folder: of the run.
        measure_at: where to evaluate.
        chosen: the winner's metrics on train_fullsup, whose score thresholds give the numbers under `fixed`.
        reason: why again, if it was evaluated before.

    Raises:
        InputError: it was evaluated before and no reason is given.
    """
    runs.require_untested(folder, reason)
    measured = measure_at({"folder": str(folder), "split": "test", "pictures": False, "chosen": chosen})
    digest = sha256(folder / "best" / "weights.pt")
    runs.record_test(
        folder, {"time": runs.now(), "checkpoint_sha256": digest, "reason": reason, "metrics": measured["metrics"], "config": measured["config"]}
    )
    return measured


def read_result(folder: Path) -> dict[str, Any]:
    """`best/result.json`.

    Raises:
        InputError: the run has none yet.
    """
    path = folder / "best" / "result.json"
    if not path.exists():
        raise InputError(f"{folder}: has no finished model yet ({path} is missing)")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Score the exported winner on a split, and the centre-Gaussian baseline on the same images.

    Args:
        request: folder of the run, split, whether to write example pictures; `chosen`: metrics on train_fullsup whose score thresholds are to be
            used as well; `directory`: where relative paths start.

    Returns:
        metrics, baseline and config.
    """
    os.chdir(request.get("directory", "."))
    from wsol import build, distributed
    from wsol.baseline import center_gaussian, score_constant_map
    from wsol.evaluation import evaluate

    best = Path(request["folder"]) / "best"
    plain, weights = read_winner(best)
    config = TrainConfig.model_validate(plain)
    dataset = build.dataset(config.data)
    images = build.images(dataset, request["split"], config.data)
    method = build.method(_without_pretraining(config), dataset.num_classes)
    method.load_state_dict(weights)
    method.to(distributed.device())
    metrics = evaluate(method, images, config.evaluation, request.get("chosen"))
    gaussian = center_gaussian((images.size, images.size), images.size / 4)
    annotations = (images.split.annotation(position, images.size) for position in range(len(images)))
    baseline = score_constant_map(gaussian, annotations, build.metrics(config.evaluation), config.evaluation.threshold_step)
    if request["pictures"]:
        write_pictures(best, method, config, dataset, metrics)
    return {"metrics": metrics, "baseline": baseline, "config": plain}


def read_winner(best: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and weights of an exported model.

    Raises:
        InputError: the folder has none.
    """
    from orchestrator.yaml_reader import read_yaml

    if not (best / "config.yaml").exists():
        raise InputError(f"{best.parent}: has no finished model yet (best/ is missing)")
    return read_yaml(best / "config.yaml").values, read_state(best / "weights.pt")["method"]


def write_pictures(best: Path, method: Any, config: TrainConfig, dataset: Any, metrics: dict[str, float]) -> None:
    """Photos and score maps of a few images of train_fullsup, class by class, with true and predicted boxes, and `examples.json`."""
    from orchestrator.pictures import map_overlay, photo_with_boxes, save_jpeg
    from wsol.evaluation import localize
    from wsol.images import ImageStore
    from wsol.ops.boxes import iou

    threshold = metrics.get("max_box_acc/threshold_50", metrics.get("max_box_acc_v2/threshold_50"))
    split = dataset.split("train_fullsup").subset(max(1, -(-EXAMPLES // dataset.num_classes)), config.data.subset_seed)
    images = ImageStore(split, config.data.image_size, config.data.model_copy(update={"cache": "off"}))
    if threshold is None or split.metadata.boxes is None:
        return  # pictures show boxes; a mask data set has none
    shutil.rmtree(best / "examples", ignore_errors=True)
    (best / "examples").mkdir()
    examples = []
    for position, sample in enumerate(islice(localize(method, images, config.evaluation), EXAMPLES)):
        image = np.asarray(images.read([position])[0])
        box = sample.level_boxes.largest[int(threshold * sample.level_boxes.peak)]
        photo, overlay = f"examples/{position:03d}-photo.jpg", f"examples/{position:03d}-map.jpg"
        save_jpeg(best / photo, photo_with_boxes(image, sample.grid_boxes))
        save_jpeg(best / overlay, map_overlay(image, sample.score_map, box, sample.grid_boxes))
        examples.append(
            {
                "image_id": split.image_ids[position],
                "class_name": dataset.class_names[sample.label],
                "iou": float(iou(box[None], sample.grid_boxes).max()),
                "threshold": threshold,
                "photo": photo,
                "map": overlay,
            }
        )
    write_text(best / "examples.json", json.dumps(examples, indent=1))


def _without_pretraining(config: TrainConfig) -> TrainConfig:
    """The same network without reading the pretrained weights that the checkpoint replaces anyway."""
    return config.model_copy(update={"backbone": config.backbone.model_copy(update={"weights": "none"})})


def _require_same(result: dict[str, Any]) -> None:
    """The exported checkpoint must be the one that won."""
    again = result["train_fullsup"][result["objective"].partition("/")[2]]
    result["value_measured_again"] = again
    if abs(again - result["value"]) > 1.0:
        raise InputError(
            f"the winner's checkpoint scores {again:.2f} on train_fullsup, but its trial reported {result['value']:.2f}: "
            "the data or the checkpoint changed since; nothing was evaluated on test"
        )
