"""The branches of a search: which other values a searched value depends on, and every combination that these can take.

A value depends on the values that its condition and its bounds name, on the plugin that holds it if the plugin's name
is searched, and on everything that those depend on. In each combination that can be drawn, the value must exist and be
allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.scalars import Scalar
from orchestrator.experiment.space import Parameter, Space

MOST_BRANCHES = 2_000

Branch = dict[str, Scalar]
"""Searched path -> value, for the values drawn before; a missing path was not drawn."""


def branches(experiment: Experiment, path: str) -> list[Branch]:
    """Every combination of other values in which a searched value is drawn; at most one more than `MOST_BRANCHES`."""
    space = experiment.space()
    parents = [parameter for parameter in space.parameters if parameter.path in ancestors(experiment, path)]
    base, own = experiment.base(), experiment.parameter(path)
    found: list[Branch] = []
    for branch in _outcomes(experiment, space, parents):
        if space.is_drawn(own, branch, base):
            found.append(branch)
        if len(found) > MOST_BRANCHES:
            break
    return found


def plugin_branches(experiment: Experiment, paths: Sequence[str]) -> Iterator[Branch]:
    """Every combination in which the plugins that hold the settings at some paths, searched or not, can be drawn."""
    names = {name for path in paths for name in _searched_names(experiment, path)}
    needed = names.union(*(ancestors(experiment, name) for name in names))
    space = experiment.space()
    return _outcomes(experiment, space, [parameter for parameter in space.parameters if parameter.path in needed])


def ancestors(experiment: Experiment, path: str) -> set[str]:
    """The searched paths that a searched value depends on, directly or indirectly."""
    found: set[str] = set()
    left = [path]
    while left:
        distribution = experiment.search[here := left.pop()]
        named = [*distribution.when, *distribution.bounds.values()]
        holders = [name for one in (here, *distribution.bounds.values()) for name in _searched_names(experiment, one)]
        new = {one for one in (*named, *holders) if one in experiment.search and one != path} - found
        found |= new
        left += new
    return found


def never_drawn(experiment: Experiment) -> list[str]:
    """The searched paths that no trial draws, because values that are not searched do not fulfil their conditions, in
    no named point either."""
    space = experiment.space()
    in_points = {path for point in experiment.points for path in space.point(experiment.plain(point.values))}
    return [path for path in experiment.search if path not in in_points and not branches(experiment, path)]


def in_words(branch: Branch) -> str:
    """`method.name is 'has' and optim.lr is 0.1`."""
    return " and ".join(f"{path} is {value!r}" for path, value in branch.items())


def _searched_names(experiment: Experiment, path: str) -> list[str]:
    """The searched names of plugins around a path: `method.name` and `method.base.name` of `method.base.rate`."""
    parts = path.split(".")
    around = (".".join([*parts[:length], "name"]) for length in range(1, len(parts)))
    return [name for name in around if name in experiment.search and name != path]


def _outcomes(experiment: Experiment, space: Space, parents: Sequence[Parameter]) -> Iterator[Branch]:
    """Every combination in which some parameters can be drawn, in their order."""
    base = experiment.base()

    def from_here(index: int, branch: Branch) -> Iterator[Branch]:
        if index == len(parents):
            yield branch
        elif space.is_drawn(parents[index], branch, base):
            for value in _representatives(experiment, parents[index]):
                yield from from_here(index + 1, {**branch, parents[index].path: value})
        else:
            yield from from_here(index + 1, branch)

    return from_here(0, {})


def _representatives(experiment: Experiment, parameter: Parameter) -> list[Scalar]:
    """The values of a parent that can make a difference: every choice; of a range, those that conditions name, and the
    published one to represent all others."""
    if parameter.distribution.options is not None:
        return parameter.distribution.options
    conditions = [other.when[parameter.path] for other in experiment.search.values() if parameter.path in other.when]
    named = [one for wanted in conditions for one in (wanted if isinstance(wanted, list) else [wanted])]
    return list(dict.fromkeys([*named, experiment.published(parameter.path)]))
