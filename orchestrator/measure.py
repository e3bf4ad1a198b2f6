"""Measure the exported winner on a split: metrics with intervals, the centre Gaussian beside them, pictures, and the choice of post-hoc settings."""

from __future__ import annotations

import json
import os
import shutil
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.scores import write_scores
from orchestrator.space import replaced
from wsol.checkpoint import read_state
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    from wsol.data import Dataset
    from wsol.images import ImageStore
    from wsol.method import Method

EXAMPLES = 24


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Score the exported winner on a split, and the centre-Gaussian baseline on the same images.

    Args:
        request: `folder` of the run and `split`. Optional: `directory`, where relative paths start; `chosen`: metrics on train_fullsup whose score
            thresholds are used as well; `post_hoc`: dotted path -> values, of which the combination with the highest `objective` is taken;
            `pictures`: write examples; `save_maps`: a folder for the raw maps.

    Returns:
        metrics, intervals, baseline and config; `own`: the metrics without post-hoc settings; `grid`: what every combination scored. Bootstrap
        replicates and curves are left in `best/scores-<split>.npz`.
    """
    os.chdir(request.get("directory", "."))
    from wsol import build
    from wsol.baseline import center_gaussian, score_constant_map
    from wsol.scoring import score

    best = Path(request["folder"]) / "best"
    own, weights = read_winner(best)
    dataset = build.dataset(own.data)
    images = build.images(dataset, request["split"], own.data)
    combinations = post_hoc_settings(own, request.get("post_hoc", {}))
    grid = _score([config for _, config in combinations], weights, images, dataset.num_classes) if len(combinations) > 1 else []
    values = [metrics[request["objective"]] for metrics in grid]
    config = combinations[values.index(max(values))][1] if grid else own
    method = _build(config, weights, dataset.num_classes)
    scores = score(method, images, config.evaluation, request.get("chosen"), save_to=request.get("save_maps") and Path(request["save_maps"]))
    write_scores(best, scores, images.split)
    gaussian = center_gaussian((images.size, images.size), images.size / 4)
    annotations = (images.split.annotation(position, images.size) for position in range(len(images)))
    if request.get("pictures"):
        write_pictures(best, method, config, dataset, scores.metrics)
    return {
        "metrics": scores.metrics,
        "intervals": scores.intervals(),
        "baseline": score_constant_map(gaussian, annotations, build.metrics(config.evaluation), config.evaluation.threshold_step),
        "config": config.model_dump(mode="json"),
        "own": grid[0] if grid else scores.metrics,
        "grid": [{"values": chosen, "value": value} for (chosen, _), value in zip(combinations, values, strict=True)] if grid else [],
    }


def measure_settings(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Score the exported winner on a split under every post-hoc setting; nothing is written.

    Args:
        request: `folder` of the run, `split`, and `post_hoc`: dotted path -> values.

    Returns:
        of every combination, the winner as it is first: `values` that were changed, `metrics`, and the whole `config`.
    """
    from wsol import build

    own, weights = read_winner(Path(request["folder"]) / "best")
    dataset = build.dataset(own.data)
    settings = post_hoc_settings(own, request["post_hoc"])
    scored = _score([config for _, config in settings], weights, build.images(dataset, request["split"], own.data), dataset.num_classes)
    return [
        {"values": values, "metrics": metrics, "config": config.model_dump(mode="json")}
        for (values, config), metrics in zip(settings, scored, strict=True)
    ]


def post_hoc_settings(config: TrainConfig, post_hoc: dict[str, list[Any]]) -> list[tuple[dict[str, Any], TrainConfig]]:
    """The configuration as it is, then with every other combination of post-hoc values."""
    found: list[tuple[dict[str, Any], TrainConfig]] = [({}, config)]
    for values in product(*post_hoc.values()):
        setting = dict(zip(post_hoc, values, strict=True))
        plain = config.model_dump()
        for path, value in setting.items():
            plain = replaced(plain, path, value)
        changed = TrainConfig.model_validate(plain)
        if changed not in (other for _, other in found):
            found.append((setting, changed))
    return found


def _score(configs: list[TrainConfig], weights: dict[str, Any], images: ImageStore, num_classes: int) -> list[dict[str, float]]:
    """Metrics of each configuration; those with the same method share one pass over the images."""
    from wsol.evaluation import evaluate_settings

    results: dict[int, dict[str, float]] = {}
    for first in configs:
        alike = [index for index, config in enumerate(configs) if config.method == first.method and index not in results]
        if alike:
            scored = evaluate_settings(_build(first, weights, num_classes), images, [configs[index].evaluation for index in alike])
            results.update(zip(alike, scored, strict=True))
    return [results[index] for index in range(len(configs))]


def _build(config: TrainConfig, weights: dict[str, Any], num_classes: int) -> Method:
    """The method with the winner's weights, on the device; the pretrained weights that they replace are not read."""
    from wsol import build, distributed

    method = build.bare_method(config, num_classes)
    method.load_state_dict(weights)
    return method.to(distributed.device())


def read_winner(best: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """Configuration and weights of an exported model.

    Raises:
        InputError: the folder has none.
    """
    from orchestrator.yaml_reader import read_yaml

    if not (best / "config.yaml").exists():
        raise InputError(f"{best.parent}: has no finished model yet (best/ is missing)")
    return TrainConfig.model_validate(read_yaml(best / "config.yaml").values), read_state(best / "weights.pt")["method"]


def write_pictures(best: Path, method: Method, config: TrainConfig, dataset: Dataset, metrics: dict[str, float]) -> None:
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
