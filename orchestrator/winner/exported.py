"""Opens the exported winner of a run folder, to score it or to predict with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.paths import Values
from orchestrator.experiment.post_hoc import Setting, post_hoc_settings
from orchestrator.experiment.yaml_reader import read_yaml
from orchestrator.runs import names
from orchestrator.runs.folder import require_plugins
from orchestrator.runs.result import ScoredSetting, WinnerResult, read_result
from wsol.checkpoint import read_state
from wsol.config import TrainConfig
from wsol.errors import InputError

if TYPE_CHECKING:
    from wsol.data.dataset import Dataset
    from wsol.data.images import ImageStore
    from wsol.evaluation import Pipeline
    from wsol.method import Method
    from wsol.scoring import Scores


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported winner, and the images that it is scored on.

    Attributes:
        config: the training configuration, with the present post-hoc settings.
        weights: the state dict of its method.
        dataset: the data set that it was trained for.
        images: number of images of the split that it is scored on.
    """

    config: TrainConfig
    weights: Mapping[str, Any]
    dataset: Dataset
    images: ImageStore

    def method(self, config: TrainConfig) -> Method:
        """The method with the post-hoc settings of a configuration, on this process's device."""
        from wsol import build

        return build.trained_method(config, self.weights, self.dataset.num_classes)

    def score_settings(self, post_hoc: Mapping[str, list[Any]]) -> list[ScoredSetting]:
        """Score the winner as it is, then under every other combination of post-hoc values, in one pass over the
        images.

        Args:
            post_hoc: dotted path -> values.
        """
        from wsol.evaluation import evaluate_together

        settings = post_hoc_settings(self.config, post_hoc)
        metrics = evaluate_together(self._pipelines(settings), self.images)
        return [
            ScoredSetting(values, scored, config) for (values, config), scored in zip(settings, metrics, strict=True)
        ]

    def sweep(self, post_hoc: Mapping[str, list[Any]]) -> list[tuple[Values, Scores]]:
        """`score_settings` with intervals: each setting with its scores, the winner as it is first."""
        from wsol.scoring import score_together

        settings = post_hoc_settings(self.config, post_hoc)
        scores = score_together(self._pipelines(settings), self.images)
        return [(values, scored) for (values, _), scored in zip(settings, scores, strict=True)]

    def _pipelines(self, settings: Sequence[Setting]) -> list[Pipeline]:
        """Its weights under every setting."""
        from wsol.post_hoc import pipelines

        return pipelines(self.method(self.config), [config for _, config in settings])

    def center_gaussian(self, config: TrainConfig) -> dict[str, float]:
        """Metric -> percent of the centre Gaussian on the same images, with the evaluation settings of a
        configuration."""
        from wsol import build
        from wsol.baseline import center_gaussian, score_constant_map

        images, evaluation = self.images, config.evaluation.on(self.images.split.name)
        gaussian = center_gaussian((images.size, images.size), images.size / 4)
        annotations = (images.split.annotation(position, images.size) for position in range(len(images)))
        return score_constant_map(gaussian, annotations, build.metrics(evaluation), evaluation.threshold_step)


@dataclass(frozen=True, slots=True)
class Model:
    """An exported winner that is ready for any images.

    Attributes:
        config: the training configuration, with the chosen post-hoc settings.
        method: the method, on this process's device.
        class_names: K names, in the order of the labels.
    """

    config: TrainConfig
    method: Method
    class_names: Sequence[str]


def open_exported(folder: Path, split: str, checkpoint_sha256: str | None = None) -> Exported:
    """Open the exported winner of a run folder.

    Args:
        folder: the run folder.
        split: the split whose images it is scored on.
        checkpoint_sha256: the SHA-256 that the weights must have; None: the one in the folder's result.

    Raises:
        InputError: the folder has none, the weights are not the recorded ones, or images of the split are missing.
    """
    from wsol import build, supervision

    config, weights = _read(folder, checkpoint_sha256)
    dataset = build.dataset(config.data)
    return Exported(config, weights, dataset, supervision.scored_images(dataset, split, config))


def open_model(folder: Path, result: WinnerResult) -> Model:
    """The exported winner of a run folder, without images and, unless an older version wrote its result, without its
    data set.

    Raises:
        InputError: the folder has none, the weights are not the recorded ones, or only the files of the data set know
            its classes and they are not here.
    """
    from wsol import build

    config, weights = _read(folder, result.checkpoint_sha256)
    class_names = result.class_names or build.dataset(config.data).class_names
    return Model(config, build.trained_method(config, weights, len(class_names)), class_names)


def _read(folder: Path, checkpoint_sha256: str | None = None) -> tuple[TrainConfig, Mapping[str, Any]]:
    """Read configuration and weights; see `open_exported`."""
    if not (folder / names.WINNER_CONFIG).exists():
        raise InputError(f"{folder}: has no finished model yet ({names.WINNER}/ is missing)")
    require_plugins(folder)
    config = TrainConfig.model_validate(read_yaml(folder / names.WINNER_CONFIG).values)
    digest = checkpoint_sha256 or read_result(folder).checkpoint_sha256
    return config, read_state(folder / names.WINNER_WEIGHTS, digest)["method"]
