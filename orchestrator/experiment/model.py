"""The content of a search-space file as an `Experiment` of typed sections."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from orchestrator.experiment.overrides import plugin_kind, shared_fields
from orchestrator.experiment.paths import Values, value_at_path, with_value_at
from orchestrator.experiment.space import Distribution, Parameter, Space
from wsol import plugins
from wsol.config import TrainConfig
from wsol.schema import Strict

RESUMABLE = ("trials", "hours", "stop", "max_failures", "hang_minutes", "max_failed_trials", "keep_checkpoints")
"""The settings that may change when a study is resumed."""


class StopConfig(Strict):
    """When a search stops early because it has found enough; whichever of the two comes first.

    Attributes:
        patience: stop after so many trials in a row that found nothing better; stopped trials count, failed ones do
            not.
        regret: stop when a Gaussian process, fitted to at least 20 trials, expects that no more than this many points
            of the objective can still be gained; only for one objective.
    """

    patience: int | None = Field(default=None, ge=1)
    regret: float | None = Field(default=None, gt=0)


class StudyConfig(Strict):
    """What is searched for and how.

    Attributes:
        objective: `train_fullsup/<metric>`: a trial's value is the best it reaches in any epoch. The test split cannot
            be named. In a list, the first objective chooses epoch and winner, and the samplers that can (`tpe`, `gp`)
            look for the best compromises between all of them.
        trials: how many configurations are trained; the first is the published point, then the named ones.
        sampler: `tpe` (Optuna's multivariate TPE; its first 10 trials are random), `random` (the official protocol),
            `gp`, `cma_es`, `qmc` (these three draw conditional values, and those with the bounds of others, at random),
            or `grid` (all combinations, shuffled).
        seed: random seed of the sampler. With one trial at a time, the same seed gives the same trials.
        scheduler: stops trials that fall behind: `none` (the protocol), `asha`, `median` or `hyperband`.
        grace_epochs: no trial is stopped before this epoch, nor while warm-up lasts, before start epochs or before the
            first decay of its learning rate.
        reduction_factor: `asha` and `hyperband` let the best 1/n go on at epochs g, g*n, g*n*n, ... where g is the
            first epoch they may stop at.
        hours: wall time over all sessions of the study, after which no new trial starts; null: no limit.
        stop: `{patience: 20}` or `{regret: 0.5}`: no new trial starts when enough was found; null: all are trained.
        max_failures: how often a trial whose process dies is started again from its last checkpoint.
        hang_minutes: a trial that finishes no epoch for so many minutes is ended and started again from its last
            checkpoint, which counts as one of its `max_failures`; null: ten times the longest epoch of the study so
            far, at least 30 minutes, and no limit before its first one.
        max_failed_trials: the study stops when so many trials have failed; null: never.
        keep_checkpoints: the best checkpoints of so many trials are kept when the search has ended.
        post_hoc: when the settings of `post_hoc` are chosen: once, for the `winner`; or after each epoch of
            `every_trial`, where the value of an epoch is that of its best setting, with which the winner is tested.
        loggers: `mlflow`, `wandb`: a search logs its trials there too; see `orchestrator/trials/loggers.py`.
    """

    objective: str | list[str] = Field(default="train_fullsup/max_box_acc_v2", min_length=1)
    trials: int = Field(default=30, ge=1)
    sampler: Literal["tpe", "random", "gp", "cma_es", "qmc", "grid"] = "tpe"
    seed: int = Field(default=0, ge=0, lt=2**32)
    scheduler: Literal["none", "asha", "median", "hyperband"] = "none"
    grace_epochs: int = Field(default=1, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    hours: float | None = Field(default=None, gt=0)
    stop: StopConfig | None = None
    max_failures: int = Field(default=3, ge=0)
    hang_minutes: float | None = Field(default=None, gt=0)
    max_failed_trials: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=5, ge=1)
    post_hoc: Literal["winner", "every_trial"] = "winner"
    loggers: list[Literal["mlflow", "wandb"]] = []

    @field_validator("objective")
    @classmethod
    def _selects_on_train_fullsup(cls, objective: str | list[str]) -> str | list[str]:
        for one in [objective] if isinstance(objective, str) else objective:
            if not one.startswith("train_fullsup/"):
                raise ValueError(
                    f"should be train_fullsup/<metric>, got {one!r}: configurations are selected on that split only"
                )
        return objective

    @field_validator("stop")
    @classmethod
    def _regret_is_of_one_objective(cls, stop: StopConfig | None, info: ValidationInfo) -> StopConfig | None:
        if stop is not None and stop.regret is not None and not isinstance(info.data.get("objective", ""), str):
            raise ValueError("regret is of one objective; use patience where there are several")
        return stop

    @property
    def objectives(self) -> list[str]:
        """All objectives, the one that chooses epoch and winner first."""
        return [self.objective] if isinstance(self.objective, str) else self.objective


class ResourcesConfig(Strict):
    """The resources of a trial.

    Attributes:
        workers: processes that train one trial together, each on its share of the global batch.
        cpus_per_worker: CPU cores (and torch threads) of each.
        gpus_per_worker: GPUs of each; null: 1 if the cluster has GPUs, else 0. With 0.5, two trials share a GPU and its
            memory; only for `workers: 1`.
        concurrent_trials: trials at the same time; null: as many as fit.
        placement: where the workers of one trial run: `pack` on few nodes or `spread` over many, as far as it goes;
            `strict_pack`, `strict_spread`: on one node, or each on its own, or not at all.
        accelerator_type: kind of GPU that a trial needs, as Ray names it (`T4`, `A100`, ...; `ray status` lists them);
            null: any.
        storage: address of an object store or another folder, such as `s3://bucket/prefix`, that keeps the results of
            all nodes below the name of the run; null: the run folder, which every node must see.
    """

    workers: int = Field(default=1, ge=1)
    cpus_per_worker: int = Field(default=1, ge=1)
    gpus_per_worker: float | None = Field(default=None, ge=0)
    concurrent_trials: int | None = Field(default=None, ge=1)
    placement: Literal["pack", "spread", "strict_pack", "strict_spread"] = "pack"
    accelerator_type: str | None = Field(default=None, min_length=1)
    storage: str | None = Field(default=None, min_length=1)

    @field_validator("gpus_per_worker")
    @classmethod
    def _can_be_placed(cls, gpus: float | None, info: ValidationInfo) -> float | None:
        if gpus is None or gpus.is_integer():
            return gpus
        if gpus > 1:
            raise ValueError(
                f"should be a whole number above 1, got {gpus:g}: a worker has whole GPUs or a part of one"
            )
        if info.data.get("workers", 1) > 1:
            raise ValueError(
                f"should be a whole number with several workers, got {gpus:g}: the workers of a trial cannot share"
                " a GPU"
            )
        return gpus


class Point(Strict):
    """A configuration that is trained before anything is drawn.

    Attributes:
        name: its name in tables.
        source: the paper or code that it is from.
        values: dotted path in `trial` -> value; searched values must lie inside their ranges, and other values may be
            changed as well.
    """

    name: str
    source: str = ""
    values: Values = Field(min_length=1)


class Experiment(Strict):
    """A search-space file, without its `extends` (see `yaml_reader.read_yaml`) and with one of its `variants` or none
    merged in.

    Attributes:
        trial: one complete training configuration, the published point.
        search: dotted path in `trial` -> distribution. The name of a plugin can be searched as well: another plugin
            starts from its own defaults.
        points: further named points, tried after `trial` and before anything is drawn.
        post_hoc: dotted path in `trial` -> values. Settings that change no weight are not searched by training again:
            every combination is scored on train_fullsup, with the winner's checkpoint or after every epoch of every
            trial (see `study.post_hoc`), and the best one is used on test.
        study: objective, number of trials, sampler.
        resources: what each trial gets.
    """

    trial: TrainConfig
    search: dict[str, Distribution] = {}
    points: list[Point] = []
    post_hoc: dict[str, list[Any]] = {}
    study: StudyConfig = StudyConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @property
    def chosen_by_trials(self) -> dict[str, list[Any]]:
        """`post_hoc` if every trial chooses from it; empty if only the winner does."""
        return self.post_hoc if self.study.post_hoc == "every_trial" else {}

    def base(self) -> Values:
        """The published configuration as plain values."""
        return self.trial.model_dump()

    def space(self) -> Space:
        """The search space; a range over a field that holds an integer draws integers."""
        return Space(tuple(self.parameter(path) for path in self.search))

    def parameter(self, path: str) -> Parameter:
        """One searched value of the space."""
        return Parameter(path, self.search[path], draws_integers(self.search[path], self.published(path)))

    def plain(self, values: Values) -> Values:
        """`trial` as plain values with some replaced, outer ones first: another plugin name changes what there is below
        it.

        Raises:
            KeyError: a path does not exist; the message says where it breaks off.
            ValueError: there is no such plugin, or its other settings do not fit.
        """
        plain = self.base()
        for path in sorted(values, key=lambda path: (path.count("."), not path.endswith(".name"))):
            plain = _replaced(plain, path, values[path])
        return plain

    def configure(self, values: Values) -> TrainConfig:
        """The configuration of a trial: `trial` with some values replaced; raises the errors of `plain`."""
        return TrainConfig.model_validate(self.plain(values))

    def conditions(self, path: str) -> Values:
        """The values at which a searched value is searched: those of its own condition, and those of the conditions of
        the values that it names."""
        order = list(self.search)
        found: Values = {}
        for other, wanted in self.search[path].when.items():
            if other in order[: order.index(path)]:
                found |= self.conditions(other)
            found[other] = wanted[0] if isinstance(wanted, list) else wanted
        return found

    def published(self, path: str) -> Any:
        """The value at a searched path when its conditions hold: that of `trial`, or the default of another plugin."""
        return value_at_path(self.plain(self.conditions(path)), path)

    def extent(self, end: Any) -> tuple[float, float]:
        """The smallest and the largest number that can stand at a path; of a number, itself."""
        if not isinstance(end, str):
            return float(end), float(end)
        if end not in self.search:
            return self.extent(_number(value_at_path(self.base(), end)))
        ends = self.search[end].options or (self.search[end].low, self.search[end].high)
        extents = [
            self.extent(one) for one in [*ends, *([_number(self.published(end))] if self.search[end].when else [])]
        ]
        return min(low for low, _ in extents), max(high for _, high in extents)

    def alone(self, trial: TrainConfig) -> Experiment:
        """The same experiment as one training instead of a search."""
        study = self.study.model_copy(update={"trials": 1, "sampler": "random", "scheduler": "none"})
        return self.model_copy(update={"trial": trial, "search": {}, "points": [], "study": study})


def _replaced(plain: Values, path: str, value: Any) -> Values:
    """Put another value at a path. Another plugin name brings that plugin's defaults, except for settings that all
    plugins of the kind share."""
    place, _, key = path.rpartition(".")
    kind = plugin_kind(place.rpartition(".")[2])
    if key != "name" or kind is None or value_at_path(plain, path) == value:
        return dict(with_value_at(plain, path, value))
    former, config = value_at_path(plain, place), plugins.load(kind, value).Config
    shared = shared_fields(kind, former["name"], value)
    kept = {field: setting for field, setting in former.items() if field in shared}
    return dict(with_value_at(plain, place, config.model_validate({**kept, "name": value}).model_dump()))


def config_hash(config: BaseModel) -> str:
    """Identifies a resolved configuration: SHA-256 of its canonical JSON, 16 digits."""
    return hashlib.sha256(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


def draws_integers(distribution: Distribution, published: Any) -> bool:
    """Whether a range draws integers, at a place where the published configuration has a value."""
    if distribution.options is not None:
        return False
    if isinstance(published, (int, float)):
        return isinstance(published, int)
    return isinstance(distribution.low, int) and isinstance(distribution.high, int)


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return value
