"""A search-space file becomes an `Experiment`: typed, cross-checked, every mistake reported with file, line and path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from orchestrator.space import Distribution, Parameter, Space, get, replaced
from orchestrator.yaml_reader import Document, KeyPath, parse_scalar, parse_yaml, read_yaml
from wsol import plugins
from wsol.config import Strict, TrainConfig
from wsol.errors import InputError

SECTIONS = ("trial", "search", "post_hoc", "study", "resources")
POST_HOC = ("evaluation.extractor", "evaluation.normalizer", "method.")  # what can change without changing a weight


class StudyConfig(Strict):
    """What is searched for and how.

    Attributes:
        objective: `train_fullsup/<metric>`: a trial's value is the best it reaches in any epoch. The test split can not be named.
        trials: how many configurations are trained; the first is the published point.
        sampler: `tpe` (Optuna's multivariate TPE; its first 10 trials are random) or `random` (the official protocol).
        seed: of the sampler. One trial at a time, the same seed gives the same trials.
        max_failures: how often a trial whose process dies is started again from its last checkpoint.
    """

    objective: str = "train_fullsup/max_box_acc_v2"
    trials: int = Field(default=30, ge=1)
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = Field(default=0, ge=0)
    max_failures: int = Field(default=3, ge=0)

    @field_validator("objective")
    @classmethod
    def _selects_on_train_fullsup(cls, objective: str) -> str:
        if not objective.startswith("train_fullsup/"):
            raise ValueError(f"should be train_fullsup/<metric>, got {objective!r}: configurations are selected on that split only")
        return objective


class ResourcesConfig(Strict):
    """What a trial gets.

    Attributes:
        workers: processes that train one trial together, each on its share of the global batch.
        cpus_per_worker: CPU cores (and torch threads) of each.
        gpus_per_worker: GPUs of each; null: 1 if the cluster has GPUs, else 0.
        concurrent_trials: trials at the same time; null: as many as fit.
    """

    workers: int = Field(default=1, ge=1)
    cpus_per_worker: int = Field(default=1, ge=1)
    gpus_per_worker: float | None = Field(default=None, ge=0)
    concurrent_trials: int | None = Field(default=None, ge=1)


class Experiment(Strict):
    """A search-space file.

    Attributes:
        trial: one complete training configuration, the published point.
        search: dotted path in `trial` -> distribution.
        post_hoc: dotted path in `trial` -> values. Settings that change no weight are not searched by training again: every combination is
            scored on train_fullsup with the winner's checkpoint, and the best one is used on test.
        study: objective, number of trials, sampler.
        resources: of each trial.
    """

    trial: TrainConfig
    search: dict[str, Distribution] = {}
    post_hoc: dict[str, list[Any]] = {}
    study: StudyConfig = StudyConfig()
    resources: ResourcesConfig = ResourcesConfig()

    def base(self) -> dict[str, Any]:
        """The published configuration as plain values."""
        return self.trial.model_dump()

    def space(self) -> Space:
        """The search space; a range over a field that holds an integer draws integers."""
        base = self.base()
        return Space(tuple(Parameter(path, d, _draws_integers(d, get(base, path))) for path, d in self.search.items()))

    def configure(self, values: dict[str, Any]) -> TrainConfig:
        """The configuration of a trial: `trial` with some values replaced."""
        plain = self.base()
        for path, value in values.items():
            plain = replaced(plain, path, value)
        return TrainConfig.model_validate(plain)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked experiment, the name of its file, and what the user should be told."""

    experiment: Experiment
    source: str
    name: str
    notes: list[str] = field(default_factory=list)


def load_experiment(path: Path, overrides: list[str] | None = None) -> Loaded:
    """Read, override and check a file.

    Args:
        path: a YAML file.
        overrides: `KEY=VALUE`; a key that does not begin with a section (`trial`, `search`, `study`, `resources`) is meant in `trial`.
            An override of a searched value fixes it: it is no longer searched.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    document = read_yaml(path)
    notes = [note for override in overrides or [] if (note := _override(document, override))]
    return Loaded(_check(document), str(path), path.stem, notes)


def parse_experiment(text: str, source: str) -> Experiment:
    """Check a text, such as the copy of the experiment in a run folder."""
    return _check(parse_yaml(text, source))


def config_hash(config: BaseModel) -> str:
    """Identifies a resolved configuration: SHA-256 of its canonical JSON, 16 digits."""
    return hashlib.sha256(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


def _override(document: Document, override: str) -> str | None:
    """Put one `KEY=VALUE` into the document; a note if that ends the search of a value."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"command line: {override!r}: expected KEY=VALUE, such as optim.lr=1e-4")
    section, _, rest = key.partition(".")
    if section not in SECTIONS or not rest:
        section, rest = "trial", key
    values = document.values.setdefault(section, {})
    path = _searched_path(values, rest) if section in ("search", "post_hoc") else rest.split(".")
    place: KeyPath = (section,)
    for part in path[:-1]:
        place = (*place, int(part) if part.isdigit() else part)
        if isinstance(values, dict) and part not in values:
            document.lines[place] = 0
        values = _below(values, part, key)
    _put(values, path[-1], parse_scalar(text), key)
    document.lines[(*place, path[-1])] = 0
    searched = document.values.get("search")
    if section == "trial" and isinstance(searched, dict) and searched.pop(rest, None) is not None:
        return f"{rest} is fixed at {text} and no longer searched"
    return None


def _searched_path(values: Any, path: str) -> list[str]:
    """Keys of `search` and `post_hoc` hold dots themselves: the longest one that is there counts as one key."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        if isinstance(values, dict) and ".".join(parts[:end]) in values:
            return [".".join(parts[:end]), *parts[end:]]
    return [path]


def _below(values: Any, part: str, key: str) -> Any:
    if isinstance(values, dict):
        return values.setdefault(part, {})
    if isinstance(values, list) and part.isdigit() and int(part) < len(values):
        return values[int(part)]
    raise InputError(f"command line: {key}: there is nothing below {part!r}")


def _put(values: Any, part: str, value: Any, key: str) -> None:
    if isinstance(values, dict):
        values[part] = value
    elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
        values[int(part)] = value
    else:
        raise InputError(f"command line: {key}: {part!r} can not be set, what holds it is {values!r}")


def _check(document: Document) -> Experiment:
    try:
        experiment = Experiment.model_validate(document.values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(document, dict(e)) for e in error.errors(include_url=False))) from None
    problems = [_at(document, ("search", path), text) for path in experiment.search for text in _problems(experiment, path)]
    problems += [_at(document, ("post_hoc", path), text) for path in experiment.post_hoc for text in _post_hoc_problems(experiment, path)]
    problems += _objective_problems(document, experiment) + _worker_problems(document, experiment)
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))
    return experiment


def _problems(experiment: Experiment, path: str) -> list[str]:
    """What is wrong with one searched path: it must exist, hold the published value, and be valid at both ends."""
    distribution, base = experiment.search[path], experiment.base()
    try:
        published = get(base, path)
        for other, wanted in distribution.when.items():
            base = replaced(base, other, wanted[0] if isinstance(wanted, list) else wanted)
    except KeyError as error:
        return [str(error.args[0])]
    found = []
    if not distribution.when and not distribution.contains(published):
        found.append(f"the published value trial.{path} = {published!r} lies outside of the search range")
    for end in distribution.ends():
        value = int(end) if isinstance(end, (int, float)) and _draws_integers(distribution, published) else end
        try:
            TrainConfig.model_validate(replaced(base, path, value))
        except ValidationError as error:
            found += [f"{value!r} is not allowed: {describe(dict(e), list)}" for e in error.errors(include_url=False)]
    return found


def _post_hoc_problems(experiment: Experiment, path: str) -> list[str]:
    """What is wrong with one post-hoc path: it must exist, change no weight, and every value must be valid."""
    if not path.startswith(POST_HOC):
        return [f"can not be chosen after training; what can begins with {', '.join(POST_HOC)}"]
    found = []
    for value in experiment.post_hoc[path]:
        try:
            TrainConfig.model_validate(replaced(experiment.base(), path, value))
        except KeyError as error:
            return [str(error.args[0])]
        except ValidationError as error:
            found += [f"{value!r} is not allowed: {describe(dict(e), list)}" for e in error.errors(include_url=False)]
    return found


def _objective_problems(document: Document, experiment: Experiment) -> list[str]:
    metric = experiment.study.objective.split("/")[1]
    measured = [m.name for m in experiment.trial.evaluation.metrics]
    if metric in measured:
        return []
    hint = plugins.did_you_mean(metric, measured)
    return [_at(document, ("study", "objective"), f"trial.evaluation.metrics does not measure {metric!r}{hint}; it measures {', '.join(measured)}")]


def _worker_problems(document: Document, experiment: Experiment) -> list[str]:
    workers, batch = experiment.resources.workers, experiment.trial.training.batch_size
    if workers <= batch:
        return []
    return [_at(document, ("resources", "workers"), f"{workers} workers can not share out a global batch of {batch} (trial.training.batch_size)")]


def _draws_integers(distribution: Distribution, published: Any) -> bool:
    if distribution.choices is not None:
        return False
    if isinstance(published, (int, float)):
        return isinstance(published, int)
    return isinstance(distribution.low, int) and isinstance(distribution.high, int)


def _explain(document: Document, error: dict[str, Any]) -> str:
    path: KeyPath = tuple(error["loc"])
    return _at(document, path, describe(error, lambda: _allowed_keys(document.values, path[:-1])))


def describe(error: dict[str, Any], allowed_keys: Callable[[], list[str]]) -> str:
    """What is wrong and what is allowed, of one of pydantic's errors; the keys are asked for only where one is unknown."""
    if error["type"] == "missing":
        return "this key is missing"
    if error["type"] == "extra_forbidden":
        allowed = allowed_keys()
        return f"unknown key{plugins.did_you_mean(str(error['loc'][-1]), allowed)}; allowed are {', '.join(allowed)}"
    text: str = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] in ("plugin", "value_error"):
        return text
    if error["type"] in ("model_type", "dict_type", "model_attributes_type"):
        text = "a mapping of keys to values"
    got = error.get("input")
    return f"should be {text}, got {got!r}" if not isinstance(got, (dict, list)) else f"should be {text}"


def _at(document: Document, path: KeyPath, text: str) -> str:
    dotted = ".".join(str(key) for key in path)
    line = document.line(path)
    place = f"{document.file}:{line}" if line else "command line"
    return f"{place}: {dotted}: {text}"


def _allowed_keys(values: Any, path: KeyPath) -> list[str]:
    """The keys of the model at a path, found by walking down the annotations; plugins are known by their name."""
    model: type[BaseModel] = Experiment
    for key in path:
        values = values[key]
        kind = {"data": "dataset", "metrics": "metric"}.get(str(key), str(key))
        if isinstance(key, int):
            kind = "metric"
        if kind in plugins.FOLDERS and isinstance(values, dict):
            model = plugins.load(kind, values["name"]).Config
        elif isinstance(key, str) and key in model.model_fields and isinstance(model.model_fields[key].annotation, type):
            model = model.model_fields[key].annotation  # type: ignore[assignment]
        elif model is Experiment or not isinstance(values, (dict, list)):
            model = Distribution
    return list(model.model_fields)
