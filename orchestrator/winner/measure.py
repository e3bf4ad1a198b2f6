"""Measure the exported winner on a split: metrics with intervals, the centre Gaussian beside them, pictures, the choice
of post-hoc settings, and how surely it is the winner."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.formats import settings_in_words
from orchestrator.pictures.gallery import write_gallery
from orchestrator.pictures.looks import View
from orchestrator.runs import names
from orchestrator.runs.result import read_result
from orchestrator.runs.scores import write_scores
from orchestrator.runs.tensorboard import write_pixel_curve
from orchestrator.winner.rivals import first_places, score_rivals
from wsol.checkpoint import read_state
from wsol.config import TrainConfig
from wsol.errors import InputError

if TYPE_CHECKING:
    from wsol.data.images import ImageStore


Measure = Callable[[dict[str, Any]], dict[str, Any]]
"""Runs `measure` somewhere: here, or on a node with a GPU."""


OTHER_SETTINGS = 2
"""Post-hoc settings that are shown among the pictures beside the chosen one."""


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Score the exported winner on a split, and the centre-Gaussian baseline on the same images.

    Args:
        request: `folder` of the run and `split`. Optional: `chosen`: metrics
            on train_fullsup whose score thresholds are used as well; `post_hoc`: dotted path -> values, of which the
            combination with the highest `objective` is taken;
            `pictures`: write examples; `save_maps`: a folder for the raw maps; `rivals`: see
                `orchestrator.rivals.requests`.

    Returns:
        metrics, intervals, baseline and config; `training_images`: what it was trained on, in words; `own`: the metrics
        without post-hoc settings;
        `grid`: what every combination scored; `first`: in which share of the bootstrap draws the winner without
            post-hoc settings and each rival
        come first, empty without rivals. Bootstrap replicates and curves are left in `best/scores-<split>.npz`.

    Raises:
        InputError: the folder has no exported winner, or images of the split are missing.
    """
    from wsol import build
    from wsol.baseline import center_gaussian, score_constant_map
    from wsol.scoring import score

    folder = Path(request["folder"])
    best = folder / names.WINNER
    own, weights = read_winner(folder, request.get("checkpoint_sha256"))
    dataset = build.dataset(own.data)
    trained = partial(build.trained_method, state=weights, num_classes=dataset.num_classes)
    images = build.images(dataset, request["split"], own.data)
    combinations = post_hoc_settings(own, request.get("post_hoc", {}))
    grid = (
        _score([config for _, config in combinations], weights, images, dataset.num_classes)
        if len(combinations) > 1
        else []
    )
    values = [metrics[request["objective"]] for metrics in grid]
    config = combinations[values.index(max(values))][1] if grid else own
    method = trained(config)
    scores = score(
        method,
        images,
        config.evaluation,
        request.get("chosen"),
        save_to=request.get("save_maps") and Path(request["save_maps"]),
    )
    gaussian = center_gaussian((images.size, images.size), images.size / 4)
    annotations = (images.split.annotation(position, images.size) for position in range(len(images)))
    rivals = score_rivals(request.get("rivals", []), images, dataset.num_classes)
    first = {}
    if rivals:
        as_trained = scores if config == own else score(trained(own), images, own.evaluation)
        first = first_places(as_trained, rivals, request["objective"])
    if request.get("pictures"):
        settings = [
            View(settings_in_words(combinations[place][0]), trained(other), other, grid[place])
            for place, other in _other_settings(config, [other for _, other in combinations], values)
        ]
        trials = [View(f"trial {rival.number}", rival.method, rival.config, rival.scores.metrics) for rival in rivals]
        write_gallery(
            folder / names.EXAMPLES,
            folder / names.IMAGES_TABLE,
            [View("winner", method, config, scores.metrics), *settings, *trials],
            dataset,
        )
    baseline = score_constant_map(
        gaussian, annotations, build.metrics(config.evaluation), config.evaluation.threshold_step
    )
    write_scores(best, scores, images.split)  # last: a measurement that was cut off leaves no number
    if "pxap/recall" in scores.curves:
        write_pixel_curve(best, images.split.name, scores.curves["pxap/precision"], scores.curves["pxap/recall"])
    return {
        "metrics": scores.metrics,
        "intervals": scores.intervals(),
        "baseline": baseline,
        "config": config.model_dump(mode="json"),
        "training_images": build.training_images(dataset, own.data),
        "own": grid[0] if grid else scores.metrics,
        "grid": (
            [{"values": chosen, "value": value} for (chosen, _), value in zip(combinations, values, strict=True)]
            if grid
            else []
        ),
        "first": first,
    }


def measure_settings(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Score the exported winner on a split under every post-hoc setting; nothing is written.

    Args:
        request: `folder` of the run, `split`, and `post_hoc`: dotted path -> values.

    Returns:
        of every combination, the winner as it is first: `values` that were changed, `metrics`, and the whole `config`.
    """
    from wsol import build

    own, weights = read_winner(Path(request["folder"]))
    dataset = build.dataset(own.data)
    settings = post_hoc_settings(own, request["post_hoc"])
    scored = _score(
        [config for _, config in settings],
        weights,
        build.images(dataset, request["split"], own.data),
        dataset.num_classes,
    )
    return [
        {"values": values, "metrics": metrics, "config": config.model_dump(mode="json")}
        for (values, config), metrics in zip(settings, scored, strict=True)
    ]


def _score(
    configs: list[TrainConfig], weights: dict[str, Any], images: ImageStore, num_classes: int
) -> list[dict[str, float]]:
    """Metrics of each configuration; those with the same method share one pass over the images."""
    from wsol import build
    from wsol.evaluation import evaluate_settings

    results: dict[int, dict[str, float]] = {}
    for first in configs:
        alike = [
            index for index, config in enumerate(configs) if config.method == first.method and index not in results
        ]
        if alike:
            scored = evaluate_settings(
                build.trained_method(first, weights, num_classes),
                images,
                [configs[index].evaluation for index in alike],
            )
            results.update(zip(alike, scored, strict=True))
    return [results[index] for index in range(len(configs))]


def read_winner(folder: Path, checkpoint_sha256: str | None = None) -> tuple[TrainConfig, dict[str, Any]]:
    """Configuration and weights of the exported winner of a run folder.

    Args:
        folder: of the run.
        checkpoint_sha256: what the weights must have; None: what `best/result.json` says.

    Raises:
        InputError: the folder has none, or the weights are not the recorded ones.
    """
    from orchestrator.experiment.yaml_reader import read_yaml

    if not (folder / names.WINNER_CONFIG).exists():
        raise InputError(f"{folder}: has no finished model yet ({names.WINNER}/ is missing)")
    config = TrainConfig.model_validate(read_yaml(folder / names.WINNER_CONFIG).values)
    digest = checkpoint_sha256 or read_result(folder)["checkpoint_sha256"]
    return config, read_state(folder / names.WINNER_WEIGHTS, digest)["method"]


def _other_settings(
    chosen: TrainConfig, configs: list[TrainConfig], values: list[float]
) -> list[tuple[int, TrainConfig]]:
    """The best setting of each further extractor, with its place among all; where one extractor was tried, the best
    other settings."""
    ranked = sorted(zip(range(len(values)), configs, strict=False), key=lambda entry: -values[entry[0]])
    rest = [(place, config) for place, config in ranked if config != chosen]
    extractors = {config.evaluation.extractor.name for _, config in rest} - {chosen.evaluation.extractor.name}
    firsts = [next(entry for entry in rest if entry[1].evaluation.extractor.name == name) for name in extractors]
    return sorted(firsts, key=lambda entry: -values[entry[0]])[:OTHER_SETTINGS] or rest[:OTHER_SETTINGS]
