"""`best/result.json`: the measurements of the winner, and the post-hoc settings that were tried."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.experiment.paths import Values
from orchestrator.runs import names
from orchestrator.runs.record import parse_record
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.files import write_text

STOCK = "imagenet"
"""The layout of a backbone's own published classifier, which needs no checkpoint; also a value of `--import`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A post-hoc setting and its score.

    Attributes:
        values: dotted path -> value of everything that differs from the winner as trained; empty for that one.
        value: the objective with it.
    """

    values: Values
    value: float


@dataclass(frozen=True, slots=True)
class ScoredSetting:
    """A post-hoc setting with all its metrics: an entry of `best/post_hoc.json`.

    Attributes:
        values: dotted path -> value of everything that differs from the winner as trained; empty for that one.
        metrics: metric -> percent.
        config: the complete configuration.
    """

    values: Values
    metrics: dict[str, float]
    config: TrainConfig

    def plain(self) -> Values:
        """The entry as it is written."""
        return {"values": self.values, "metrics": self.metrics, "config": self.config.model_dump(mode="json")}


@dataclass(frozen=True, slots=True)
class ConfirmedTrial:
    """A trial that was trained again with other seeds.

    Attributes:
        trial: its number.
        value: the objective by which it was selected.
        seeds: seed -> the objective with it; failed ones are left out.
        first: the probability that it is the best of the trials that were trained again; None where unknown.
    """

    trial: int
    value: float
    seeds: dict[int, float]
    first: float | None = None

    @property
    def mean(self) -> float:
        """The mean over its seeds; NaN if all failed."""
        return statistics.fmean(self.seeds.values()) if self.seeds else math.nan

    @property
    def optimism(self) -> float:
        """By how many points the value that selected it is above that mean."""
        return self.value - self.mean


@dataclass(frozen=True, slots=True)
class WinnerResult:
    """`best/result.json`; older runs lack some of it.

    Attributes:
        objective: the objective that chose it.
        checkpoint_sha256: SHA-256 of the exported weights.
        train_fullsup: metric -> percent there, with the post-hoc settings that were chosen.
        intervals: split -> metric -> its 95 % interval.
        baseline: split -> metric -> percent of the centre Gaussian.
        trial, epoch: the trial and epoch that won; None for an imported model.
        value: the objective, as the trial reported it.
        value_measured_again: the objective of the exported weights; None where unknown.
        config: what was trained, with the post-hoc settings that were chosen, as plain values.
        training_images: what it was trained on, in words.
        uses_boxes: whether that were images of train_fullsup with their boxes or masks.
        class_names: K names, in the order of the labels; empty in results of older versions.
        post_hoc: the settings that were tried, the winner as trained first; empty if there were none.
        chosen: the values that the trial chose for its best epoch; None if the best setting was chosen after the
            search.
        first: the share of bootstrap draws in which it, and each rival, comes first; None where there is no rival.
        confirmed: the trials that were trained again with other seeds, see `study.confirm`; empty if none was.
        adopted: whether the user chose the post-hoc settings after the run, by `evaluate`; these are kept.
        imported: layout, file and SHA-256 of an imported model.
        more: entries of another version, which are kept.
    """

    objective: str
    checkpoint_sha256: str
    train_fullsup: dict[str, float]
    intervals: dict[str, dict[str, list[float]]]
    baseline: dict[str, dict[str, float]]
    trial: int | None = None
    epoch: int | None = None
    value: float | None = None
    value_measured_again: float | None = None
    config: Values = field(default_factory=dict)
    training_images: str = "all"
    uses_boxes: bool = False
    class_names: tuple[str, ...] = ()
    post_hoc: tuple[Setting, ...] = ()
    chosen: Values | None = None
    first: dict[str, float] | None = None
    confirmed: tuple[ConfirmedTrial, ...] = ()
    adopted: bool = False
    imported: dict[str, str] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The metric that chose the winner, without the split."""
        return self.objective.partition("/")[2]

    @property
    def training_note(self) -> str:
        """What must be known about its training images; empty where all were those of train_weaksup."""
        return training_note(self.training_images, uses_boxes=self.uses_boxes)

    @property
    def choice(self) -> Setting | None:
        """The chosen post-hoc setting: the trial's choice, else the best one (the first of several). None if none were
        tried."""
        if self.chosen is not None:
            return next((setting for setting in self.post_hoc if setting.values == self.chosen), None)
        return max(self.post_hoc, key=lambda setting: setting.value, default=None)


def mean_optimism(confirmed: Iterable[ConfirmedTrial]) -> float:
    """By how many points trials were selected too high, on average over those that succeeded with another seed."""
    return statistics.fmean(one.optimism for one in confirmed if one.seeds)


_OPTIONAL = ("chosen", "first", "imported")
"""Entries that are left out when they are empty."""


def training_note(images: str, *, uses_boxes: bool) -> str:
    """`WinnerResult.training_note` of its entries."""
    if uses_boxes:
        return f"trained on boxes: {images}"
    return "" if images == "all" else f"trained on a part of train_weaksup: {images}"


def read_result(folder: Path) -> WinnerResult:
    """The result of a finished run.

    Raises:
        InputError: the run has no result yet, or the file is damaged.
    """
    path = folder / names.WINNER_RESULT
    if not path.exists():
        raise InputError(f"{folder}: has no finished model yet ({path} is missing)")
    try:
        return parse_result(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: is damaged ({error}); restore it from a copy, or delete it and let `python launch.py resume"
            f" {folder}` measure the winner again"
        ) from None


def parse_result(text: str) -> WinnerResult:
    """The result in the text of a file, whichever version wrote it.

    Raises:
        ValueError: it is no JSON, or an entry is missing or not what it should be.
    """
    return parse_record(WinnerResult, text)


def write_result(folder: Path, result: WinnerResult) -> None:
    """Write the result of a run."""
    content = dataclasses.asdict(result)
    more = content.pop("more")
    kept = {name: value for name, value in content.items() if not (name in _OPTIONAL and value is None)}
    for name in ("adopted", "class_names", "confirmed", "uses_boxes"):
        if not content[name]:
            del kept[name]
    write_text(folder / names.WINNER_RESULT, json.dumps({**kept, **more}, indent=1))
