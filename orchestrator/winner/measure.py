"""Measures the exported winner on a split: metrics with intervals, the centre Gaussian, example pictures, the choice of
post-hoc settings, and how often the winner comes first in the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.paths import Values
from orchestrator.experiment.post_hoc import with_setting
from orchestrator.formats import settings_in_words
from orchestrator.pictures.gallery import write_gallery
from orchestrator.pictures.looks import View
from orchestrator.runs import names
from orchestrator.runs.result import ScoredSetting
from orchestrator.runs.scores import write_scores
from orchestrator.runs.tensorboard import write_pixel_curve
from orchestrator.study.checkpoints import Rival
from orchestrator.winner.exported import Exported, open_exported
from orchestrator.winner.rivals import ScoredRival, first_places, score_rivals
from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.scoring import Scores


@dataclass(frozen=True, slots=True)
class MeasureRequest:
    """A request for a measurement, which may be sent to another node.

    Attributes:
        folder: the run folder.
        split: `train_fullsup` or `test`.
        checkpoint_sha256: the SHA-256 that the exported weights must have; None: the one in the folder's result.
        objective: the metric that chooses among post-hoc settings and between rivals; empty if nothing is chosen.
        post_hoc: dotted path -> values; the combination with the highest objective is chosen. The winner as it is takes
            part, and wins a tie.
        setting: the combination that its trial chose, which stays; None: the best one is chosen.
        chosen: the metrics on train_fullsup, whose score thresholds give the numbers under `fixed`; None: no such
            numbers.
        rivals: the trials that the winner is compared with.
        pictures: write example pictures.
        save_maps: a folder for the raw maps; None: they are not kept.
        look: key of the look at test that this measurement is; empty for other splits.
    """

    folder: Path
    split: str
    checkpoint_sha256: str | None = None
    objective: str = ""
    post_hoc: Mapping[str, list[Any]] = field(default_factory=dict)
    setting: Values | None = None
    chosen: Mapping[str, float] | None = None
    rivals: Sequence[Rival] = ()
    pictures: bool = False
    save_maps: Path | None = None
    look: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a measurement. Bootstrap replicates and curves are written to `best/scores-<split>.npz`.

    Attributes:
        metrics: metric -> percent.
        intervals: metric -> its 95 % interval.
        baseline: metric -> percent of the centre Gaussian on the same images.
        config: the configuration that was scored, with the chosen post-hoc settings.
        training_images: what it was trained on, in words.
        class_names: the classes of the data set, in the order of the labels.
        own: the metrics that the trial's value belongs to: those of the winner as trained, or with the setting that the
            trial chose.
        settings: the settings that were tried, the winner as trained first; empty if there were none.
        first: the share of bootstrap draws in which the winner, as its trial scored it, and each rival come first;
            empty without rivals.
    """

    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    baseline: dict[str, float]
    config: TrainConfig
    training_images: str
    class_names: Sequence[str]
    own: dict[str, float]
    settings: list[ScoredSetting]
    first: dict[str, float]

    def record(self) -> Values:
        """The entries that the record of looks at the test split keeps."""
        return {
            "metrics": self.metrics,
            "intervals": self.intervals,
            "baseline": self.baseline,
            "config": self.config.model_dump(mode="json"),
            "training_images": self.training_images,
        }


Measure = Callable[[MeasureRequest], Measured]
"""Runs `measure` somewhere: here, or on a node with a GPU."""


OTHER_SETTINGS = 2
"""Number of other post-hoc settings that the pictures show beside the chosen one."""


def measure(request: MeasureRequest) -> Measured:
    """Score the exported winner on a split, and the centre-Gaussian baseline on the same images.

    Raises:
        InputError: the folder has no exported winner, its weights are not the recorded ones, or images of the split are
            missing.
    """
    from wsol import supervision
    from wsol.scoring import score

    winner = open_exported(request.folder, request.split, request.checkpoint_sha256)
    settings = _settings(winner, request)
    own = winner.config if request.setting is None else with_setting(winner.config, request.setting)
    config = best_setting(settings, request.objective).config if settings and request.setting is None else own
    method = winner.method(config)
    scores = score(method, winner.images, config.evaluation, request.chosen, save_to=request.save_maps)
    rivals = score_rivals(request.rivals, winner.images, winner.dataset.num_classes)
    first = _first_places(winner, own, config, scores, rivals, request.objective)
    if request.pictures:
        views = [View("winner", method, config, scores.metrics)]
        views += [*_views_of_settings(winner, config, settings, request.objective), *map(_view_of_rival, rivals)]
        write_gallery(request.folder / names.EXAMPLES, request.folder / names.IMAGES_TABLE, views, winner.dataset)
    measured = Measured(
        metrics=scores.metrics,
        intervals={name: list(ends) for name, ends in scores.intervals().items()},
        baseline=winner.center_gaussian(config),
        config=config,
        training_images=supervision.described(winner.dataset, winner.config),
        class_names=winner.dataset.class_names,
        own=next((setting.metrics for setting in settings if setting.config == own), scores.metrics),
        settings=settings,
        first=first,
    )
    best, split = request.folder / names.WINNER, winner.images.split
    write_scores(best, scores, split, request.look, measured.record())  # last: what was cut off before left no number
    if "pxap/recall" in scores.curves:
        write_pixel_curve(best, split.name, scores.curves["pxap/precision"], scores.curves["pxap/recall"])
    return measured


def best_setting(settings: Sequence[ScoredSetting], objective: str) -> ScoredSetting:
    """The setting with the highest objective; if several have it, the first one, which changes least."""
    from wsol.post_hoc import best_place

    return settings[best_place([setting.metrics for setting in settings], objective)]


def _settings(winner: Exported, request: MeasureRequest) -> list[ScoredSetting]:
    """The settings that were tried; empty if there is only the winner as it is."""
    if not request.post_hoc:
        return []
    settings = winner.score_settings(request.post_hoc)
    return settings if len(settings) > 1 else []


def _first_places(
    winner: Exported,
    own: TrainConfig,
    config: TrainConfig,
    scores: Scores,
    rivals: Sequence[ScoredRival],
    objective: str,
) -> dict[str, float]:
    """How often the winner with its own setting, and each rival, come first; the given scores are with the setting of
    `config`."""
    from wsol.scoring import score

    if not rivals:
        return {}
    as_trained = scores if config == own else score(winner.method(own), winner.images, own.evaluation)
    return first_places(as_trained, rivals, objective)


def other_settings(chosen: TrainConfig, settings: Sequence[ScoredSetting], objective: str) -> list[ScoredSetting]:
    """The best setting of each further extractor; where one extractor was tried, the best other settings."""
    ranked = sorted(settings, key=lambda setting: -setting.metrics[objective])
    rest = [setting for setting in ranked if setting.config != chosen]
    best = {setting.config.evaluation.extractor.name: setting for setting in reversed(rest)}
    best.pop(chosen.evaluation.extractor.name, None)
    return ([setting for setting in rest if setting in best.values()] or rest)[:OTHER_SETTINGS]


def _views_of_settings(
    winner: Exported, chosen: TrainConfig, settings: Sequence[ScoredSetting], objective: str
) -> list[View]:
    return [
        View(settings_in_words(one.values), winner.method(one.config), one.config, one.metrics)
        for one in other_settings(chosen, settings, objective)
    ]


def _view_of_rival(rival: ScoredRival) -> View:
    return View(f"trial {rival.number}", rival.method, rival.config, rival.scores.metrics)
