"""The exported winner of a run folder, built again to be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.experiment.yaml_reader import read_yaml
from orchestrator.runs import names
from orchestrator.runs.result import ScoredSetting, read_result
from wsol.checkpoint import read_state
from wsol.config import TrainConfig
from wsol.errors import InputError

if TYPE_CHECKING:
    from wsol.data.dataset import Dataset
    from wsol.data.images import ImageStore
    from wsol.method import Method


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported, and the images that it is scored on.

    Attributes:
        config: what was trained, with the post-hoc settings that it has now.
        weights: state of its method.
        dataset: that it was trained for.
        images: of the split that it is scored on.
    """

    config: TrainConfig
    weights: Mapping[str, Any]
    dataset: Dataset
    images: ImageStore

    def method(self, config: TrainConfig) -> Method:
        """Its method with the post-hoc settings of a configuration, on this process's device."""
        from wsol import build

        return build.trained_method(config, self.weights, self.dataset.num_classes)

    def score_settings(self, post_hoc: Mapping[str, list[Any]]) -> list[ScoredSetting]:
        """Score it as it is, then under every other combination of post-hoc values.

        Args:
            post_hoc: dotted path -> values.
        """
        settings = post_hoc_settings(self.config, dict(post_hoc))
        metrics = self._metrics([config for _, config in settings])
        return [
            ScoredSetting(values, scored, config) for (values, config), scored in zip(settings, metrics, strict=True)
        ]

    def _metrics(self, configs: Sequence[TrainConfig]) -> list[dict[str, float]]:
        """Metrics of each configuration; those with the same method share one pass over the images."""
        from wsol.evaluation import evaluate_settings

        results: dict[int, dict[str, float]] = {}
        for first in configs:
            alike = [
                place for place, config in enumerate(configs) if config.method == first.method and place not in results
            ]
            if alike:
                evaluations = [configs[place].evaluation for place in alike]
                scored = evaluate_settings(self.method(first), self.images, evaluations)
                results.update(zip(alike, scored, strict=True))
        return [results[place] for place in range(len(configs))]


def open_exported(folder: Path, split: str, checkpoint_sha256: str | None = None) -> Exported:
    """The exported winner of a run folder.

    Args:
        folder: of the run.
        split: whose images it is scored on.
        checkpoint_sha256: what the weights must have; None: what the result in the folder says.

    Raises:
        InputError: the folder has none, the weights are not the recorded ones, or images of the split are missing.
    """
    from wsol import build

    if not (folder / names.WINNER_CONFIG).exists():
        raise InputError(f"{folder}: has no finished model yet ({names.WINNER}/ is missing)")
    config = TrainConfig.model_validate(read_yaml(folder / names.WINNER_CONFIG).values)
    digest = checkpoint_sha256 or read_result(folder).checkpoint_sha256
    weights = read_state(folder / names.WINNER_WEIGHTS, digest)["method"]
    dataset = build.dataset(config.data)
    return Exported(config, weights, dataset, build.images(dataset, split, config.data))
