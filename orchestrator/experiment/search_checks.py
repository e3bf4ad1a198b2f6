"""Finds mistakes in `search`: in paths, ranges and conditions, and values that cannot be drawn in some branch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from orchestrator.experiment.branches import MOST_BRANCHES, Branch, ancestors, branches, in_words
from orchestrator.experiment.messages import describe, reason
from orchestrator.experiment.model import Experiment, draws_integers
from orchestrator.experiment.paths import Values, has_path, value_at_path
from orchestrator.experiment.scalars import Scalar
from orchestrator.experiment.space import Distribution, known_value
from wsol.config import TrainConfig

SearchProblem = tuple[str, str]
"""A searched path, and what is wrong with it."""


def search_problems(experiment: Experiment) -> Iterator[SearchProblem]:
    """Every searched path must exist, hold the published value, be valid at both ends, and depend on earlier ones
    only."""
    for path, distribution in experiment.search.items():
        for text in _dependency_problems(experiment, path) or _range_problems(experiment, path, distribution):
            yield path, text


def drawing_problems(experiment: Experiment) -> Iterator[SearchProblem]:
    """Mistakes that a search without other problems would meet in some trial, or that would silently change what is
    drawn."""
    for path, distribution in experiment.search.items():
        texts = [
            *_choice_problems(distribution),
            *_condition_problems(experiment, distribution),
            *_integer_problems(experiment, path),
            *_step_problems(distribution),
        ]
        for text in texts or _branch_problems(experiment, path):
            yield path, text


def invalid(experiment: Experiment, values: Values) -> list[str]:
    """What is not allowed about `trial` with some values replaced."""
    try:
        config = TrainConfig.model_validate(experiment.plain(values))
    except ValidationError as error:
        return [describe(e, list) for e in error.errors(include_url=False)]
    except ValueError as error:  # another plugin that does not exist
        return [str(error)]
    if config.withheld != experiment.trial.withheld:
        return [
            "it trains on other images of train_fullsup than the published point, so that other images would select it"
        ]
    return []


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
        return [f"low can be {low[1]:g} while high is only {high[0]:g}: no value would be left"]
    return ["a log range needs low > 0"] if distribution.log and low[0] <= 0 else []


def _ordered(experiment: Experiment, low: Any, high: Any) -> bool:
    """Whether the range of one bound begins or ends at the other bound, so that the two never cross."""
    search = experiment.search
    return (high in search and search[high].low == low) or (low in search and search[low].high == high)


def _range_problems(experiment: Experiment, path: str, distribution: Distribution) -> list[str]:
    try:
        published = experiment.published(path)
        integer = experiment.parameter(path).integer
    except KeyError as error:
        return [str(error.args[0])]
    except ValueError as error:
        return [f"its condition cannot hold: {reason(error)}"]
    found = []
    bounds = {other: known_value(other, {}, experiment.base()) for other in distribution.bounds.values()}
    is_whole = not distribution.when and None not in bounds.values()
    if is_whole and not distribution.within(bounds).contains(published):
        found.append(f"the published value trial.{path} = {published!r} lies outside of the search range")
    conditions = experiment.conditions(path)
    for end in _ends(distribution, integer):
        values = {**conditions, **_moved(experiment, path, end, experiment.plain(conditions))}
        found += [f"{end!r} is not allowed: {text}" for text in invalid(experiment, values)]
    return found


def _ends(distribution: Distribution, integer: bool) -> list[Scalar]:
    return [int(end) if isinstance(end, float) and integer else end for end in distribution.ends()]


def _moved(experiment: Experiment, path: str, value: Any, plain: Values) -> Values:
    """A value at a path, and the same value at every path whose range it bounds in the configuration `plain`: in a
    search, these move along."""
    values = {path: value}
    for other, distribution in experiment.search.items():
        for bound in distribution.bounds.values():
            if bound in values and has_path(plain, other):
                values[other] = values[bound]
    return values


def _choice_problems(distribution: Distribution) -> list[str]:
    choices = distribution.choices or []
    twice = [choice for index, choice in enumerate(choices) if choice in choices[:index]]
    return [f"the choice {choice!r} stands twice" for choice in twice]


def _condition_problems(experiment: Experiment, distribution: Distribution) -> Iterator[str]:
    """A condition on a searched value must name values that it can take; steps are ignored."""
    for path, wanted in distribution.when.items():
        parent = experiment.search.get(path)
        if parent is None or parent.bounds:
            continue
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if not parent.contains(value):
                takes = (
                    f"from {parent.low} to {parent.high}"
                    if parent.options is None
                    else f"one of {', '.join(map(str, parent.options))}"
                )
                yield f"its condition can never hold: {path} is {takes}, not {value!r}"


def _integer_problems(experiment: Experiment, path: str) -> Iterator[str]:
    """Where integers are drawn, ends, step and bounds must be whole numbers."""
    if not experiment.parameter(path).integer:
        return
    distribution = experiment.search[path]
    for name, number in (("low", distribution.low), ("high", distribution.high), ("step", distribution.step)):
        if isinstance(number, float) and not number.is_integer():
            yield f"{name} should be a whole number, got {number:g}: integers are drawn here"
        elif isinstance(number, str) and not _is_integer(experiment, number):
            yield f"{name} should be the path of a whole number, got {number}: integers are drawn here"


def _is_integer(experiment: Experiment, path: str) -> bool:
    if path in experiment.search:
        return experiment.parameter(path).integer or isinstance(experiment.published(path), int)
    return isinstance(value_at_path(experiment.base(), path), int)


def _step_problems(distribution: Distribution) -> list[str]:
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is None or isinstance(low, str) or isinstance(high, str) or low is None or high is None:
        return []
    return [f"a step of {step:g} is wider than the range: only {low:g} would be drawn"] if step > high - low else []


def _branch_problems(experiment: Experiment, path: str) -> list[str]:
    """What is wrong with a searched value in the first of its branches that has problems."""
    if not ancestors(experiment, path) and not experiment.search[path].when:
        return []  # there is one branch, and both ends were asked about
    ways = branches(experiment, path)
    if len(ways) > MOST_BRANCHES:
        return [f"depends on more than {MOST_BRANCHES:,} combinations of other values, too many to check: search less"]
    if not ways and all(needed in experiment.search for needed in experiment.search[path].when):
        return ["its conditions can never hold together"]
    return next((found for branch in ways if (found := _problems_in(experiment, path, branch))), [])


def _problems_in(experiment: Experiment, path: str, branch: Branch) -> list[str]:
    distribution = experiment.search[path]
    where = f" where {in_words(branch)}" if branch else ""
    try:
        plain = experiment.plain(branch)
    except (KeyError, ValueError):
        return []  # a problem of what it hangs on
    if missing := [needed for needed in (path, *distribution.bounds.values()) if not has_path(plain, needed)]:
        return [f"there is no {missing[0]}{where}; give a condition `when:` with which there is"]
    if draws_integers(distribution, value_at_path(plain, path)) != experiment.parameter(path).integer:
        return [f"takes whole numbers only in some branches, and others{where}; give a condition `when:`"]
    for bound in distribution.bounds.values():
        if known_value(bound, branch, experiment.base()) != value_at_path(plain, bound):
            return [f"its bound {bound} is not drawn{where}; give both the same condition"]
    return [
        f"{end!r} is not allowed{where}: {text}"
        for end in _ends(distribution, experiment.parameter(path).integer)
        for text in invalid(experiment, {**branch, **_moved(experiment, path, end, plain)})
    ]
