"""What is wrong with an experiment beyond the type of single values: paths, ranges, points, objectives, workers,
schedulers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.experiment.messages import at, describe
from orchestrator.experiment.space import Distribution, known_value
from orchestrator.experiment.yaml_nodes import KeyPath
from orchestrator.experiment.yaml_reader import Document
from wsol import plugins
from wsol.config import TrainConfig
from wsol.errors import InputError

if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment


POST_HOC = ("evaluation.extractor", "evaluation.normalizer", "method.")  # what can change without changing a weight


ONE_OBJECTIVE = ("cma_es",)  # samplers that know only one


Problem = tuple[KeyPath, str]
"""Where in the file, and what."""


def problems(document: Document, experiment: Experiment) -> list[str]:
    """Everything that is wrong, one line each."""
    found = [*_search_problems(experiment), *_point_problems(experiment)]
    found = [
        *(found or _whole_space_problems(experiment)),
        *_post_hoc_problems(experiment),
        *_study_problems(experiment),
    ]
    return list(dict.fromkeys(at(document, path, text) for path, text in found))


def _search_problems(experiment: Experiment) -> Iterator[Problem]:
    """Every searched path must exist, hold the published value, be valid at both ends, and depend on earlier ones
    only."""
    for path, distribution in experiment.search.items():
        for text in _dependency_problems(experiment, path) or _range_problems(experiment, path, distribution):
            yield ("search", path), text


def _dependency_problems(experiment: Experiment, path: str) -> list[str]:
    distribution, order = experiment.search[path], list(experiment.search)
    needed = [*distribution.when, *distribution.bounds.values()]
    late = [other for other in needed if other in order and order.index(other) >= order.index(path)]
    if late:
        return [f"depends on {other}, which must stand above it in search" for other in late]
    if not distribution.bounds:
        return []
    try:
        low, high = (experiment.extent(end) for end in (distribution.low, distribution.high))
    except KeyError as error:
        return [str(error.args[0])]
    except TypeError:
        return ["its bounds must be numbers, or paths of numbers"]
    if low[1] > high[0] and not _ordered(experiment, distribution.low, distribution.high):
        return [f"low can become {low[1]:g}, which is above {high[0]:g}, what high can become: no value would be left"]
    return ["a log range needs low > 0"] if distribution.log and low[0] <= 0 else []


def _ordered(experiment: Experiment, low: Any, high: Any) -> bool:
    """Whether the range of one bound begins at the other, or ends there: then they never cross."""
    search = experiment.search
    return (high in search and search[high].low == low) or (low in search and search[low].high == high)


def _range_problems(experiment: Experiment, path: str, distribution: Distribution) -> list[str]:
    try:
        published = experiment.published(path)
        integer = experiment.parameter(path).integer
    except KeyError as error:
        return [str(error.args[0])]
    except ValueError as error:
        return [f"its condition can not hold: {_first_words(error)}"]
    found = []
    closed = distribution.within(
        {other: known_value(other, {}, experiment.base()) for other in distribution.bounds.values()}
    )
    if not distribution.when and not closed.contains(published):
        found.append(f"the published value trial.{path} = {published!r} lies outside of the search range")
    for end in distribution.ends():
        value = int(end) if isinstance(end, (int, float)) and integer else end
        found += [
            f"{value!r} is not allowed: {text}"
            for text in _invalid(experiment, {**experiment.conditions(path), **_moved(experiment, path, value)})
        ]
    return found


def _moved(experiment: Experiment, path: str, value: Any) -> dict[str, Any]:
    """A value at a path, and the same at every path whose range it bounds: those move along in a search. (Paths that do
    not exist have their own problem.)"""
    values = {path: value}
    for other, distribution in experiment.search.items():
        for bound in distribution.bounds.values():
            if bound in values and _exists(experiment, other):
                values[other] = values[bound]
    return values


def _exists(experiment: Experiment, path: str) -> bool:
    try:
        experiment.published(path)
    except (KeyError, ValueError):
        return False
    return True


def _point_problems(experiment: Experiment) -> Iterator[Problem]:
    """Every named point must be a valid configuration inside the search ranges."""
    names = [point.name for point in experiment.points]
    for index, point in enumerate(experiment.points):
        place: KeyPath = ("points", index)
        if names.index(point.name) != index:
            yield (*place, "name"), f"there are two points called {point.name!r}"
        try:
            plain = experiment.plain(point.values)
            drawn = experiment.space().point(plain)
        except KeyError as error:
            yield (*place, "values"), str(error.args[0])
            continue
        except ValueError as error:
            yield (*place, "values"), _first_words(error)
            continue
        yield from (((*place, "values"), text) for text in _invalid(experiment, point.values))
        for path, value in drawn.items():
            distribution = experiment.search[path]
            closed = distribution.within(
                {other: known_value(other, drawn, plain) for other in distribution.bounds.values()}
            )
            if not closed.contains(value):
                yield (*place, "values", path), f"{value!r} lies outside of the search range"


def _post_hoc_problems(experiment: Experiment) -> Iterator[Problem]:
    """Every post-hoc path must exist and change no weight, and every value must be valid."""
    for path, values in experiment.post_hoc.items():
        place: KeyPath = ("post_hoc", path)
        if not path.startswith(POST_HOC):
            yield place, f"can not be chosen after training; what can begins with {', '.join(POST_HOC)}"
            continue
        for value in values:
            try:
                yield from (
                    (place, f"{value!r} is not allowed: {text}") for text in _invalid(experiment, {path: value})
                )
            except KeyError as error:
                yield place, str(error.args[0])


def _whole_space_problems(experiment: Experiment) -> Iterator[Problem]:
    """What can be asked only of a space without mistakes."""
    epochs = experiment.trial.training.epochs
    if experiment.study.scheduler != "none" and (grace := experiment.grace_epochs()) >= epochs:
        reason = (
            f"no trial may be stopped before epoch {grace} (warm-up, start epochs and the first decay of the learning"
            " rate)"
        )
        yield ("study", "scheduler"), f"{reason}, and training has {epochs}: use none"
    if experiment.study.sampler == "grid":
        try:
            experiment.space().grid(experiment.base())
        except InputError as error:
            place, _, text = str(error).partition(": ")
            yield tuple(place.split(".", 1)), text


def _study_problems(experiment: Experiment) -> Iterator[Problem]:
    study, trial = experiment.study, experiment.trial
    measured = {metric.name: metric for metric in trial.evaluation.metrics}
    for metric in (objective.split("/")[1] for objective in study.objectives):
        if metric not in measured:
            hint = plugins.did_you_mean(metric, list(measured))
            yield (
                (
                    "study",
                    "objective",
                ),
                f"trial.evaluation.metrics does not measure {metric!r}{hint}; it measures {', '.join(measured)}",
            )
        elif not plugins.build("metric", measured[metric], trial.evaluation.threshold_step).higher_is_better:
            yield (
                ("study", "objective"),
                f"{metric!r} is better when lower, and searches look for high values; choose another",
            )
    if len(study.objectives) > 1 and (study.sampler in ONE_OBJECTIVE or study.scheduler != "none"):
        yield (
            (
                "study",
                "objective",
            ),
            f"several objectives need scheduler: none, and a sampler other than {' and '.join(ONE_OBJECTIVE)}",
        )
    workers, batch = experiment.resources.workers, trial.training.batch_size
    if workers > batch:
        yield (
            (
                "resources",
                "workers",
            ),
            f"{workers} workers can not share out a global batch of {batch} (trial.training.batch_size)",
        )


def _invalid(experiment: Experiment, values: dict[str, Any]) -> list[str]:
    """What is not allowed about `trial` with some values replaced."""
    try:
        TrainConfig.model_validate(experiment.plain(values))
    except ValidationError as error:
        return [describe(dict(e), list) for e in error.errors(include_url=False)]
    except ValueError as error:  # another plugin that does not exist
        return [str(error)]
    return []


def _first_words(error: ValueError) -> str:
    return (
        describe(dict(error.errors(include_url=False)[0]), list) if isinstance(error, ValidationError) else str(error)
    )
