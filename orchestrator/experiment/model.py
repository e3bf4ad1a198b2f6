"""The content of a search-space file as an `Experiment` of typed sections."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from orchestrator.experiment.overrides import plugin_kind, shared_fields
from orchestrator.experiment.paths import Values, value_at_path, with_value_at
from orchestrator.experiment.space import Distribution, Parameter, Space
from orchestrator.experiment.study_config import StudyConfig
from wsol import plugins
from wsol.config import TrainConfig
from wsol.schema import Strict


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
        return self.model_copy(
            update={"trial": trial, "search": {}, "points": [], "study": self.study.of_given_points(1)}
        )


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
