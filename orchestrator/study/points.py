"""The points that a study tries before it draws any: published points, the points of a recorded run, or a whole
grid."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.experiment.model import Experiment, config_hash
from orchestrator.experiment.paths import Values
from wsol.errors import InputError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point that is tried before anything is drawn: its searched values, and its other changes of `trial`."""

    name: str
    params: Values
    extra: Values
    facts: Values

    def attributes(self) -> Values:
        """The attributes of the point that are stored with its trial."""
        return {"origin": self.name, "values": self.extra, **self.facts}


def published_points(experiment: Experiment) -> list[Candidate]:
    """`trial` and the named points, each configuration once."""
    named = [
        ("published point", "", Values()),
        *((point.name, point.source, point.values) for point in experiment.points),
    ]
    found: dict[str, Candidate] = {}
    for name, source, values in named:
        config = experiment.configure(values)
        params = experiment.space().point(config.model_dump())
        extra = {path: value for path, value in values.items() if path not in params}
        found.setdefault(config_hash(config), Candidate(name, params, extra, {"source": source} if source else {}))
    return list(found.values())


def shuffled_grid(experiment: Experiment) -> list[Values]:
    """All combinations, shuffled by the study's seed, so that the first ones are spread over the space."""
    points = list(experiment.space().grid(experiment.base()))
    random.Random(experiment.study.seed).shuffle(points)
    return points


def recorded_points(trials: Sequence[FrozenTrial], run: str, numbers: Sequence[int] | None = None) -> list[Candidate]:
    """The points that the trials of a run trained, in their order.

    Args:
        trials: all trials of the run.
        run: what the run is called.
        numbers: the trials, by number; None: all that completed, repetitions once.

    Raises:
        InputError: there is no such trial.
    """
    drawn = {trial.number: trial for trial in trials if "config_hash" in trial.user_attrs}
    done = [
        number
        for number, trial in drawn.items()
        if trial.state.name == "COMPLETE" and "repeats" not in trial.user_attrs
    ]
    chosen = done if numbers is None else numbers
    if missing := [number for number in chosen if number not in drawn]:
        raise InputError(f"{run}: has no trial {missing[0]}; there are {', '.join(map(str, drawn)) or 'none yet'}")
    if not chosen:
        raise InputError(f"{run}: no trial has completed yet")
    return [_recorded(drawn[number], run) for number in chosen]


def _recorded(trial: FrozenTrial, run: str) -> Candidate:
    facts = {"replay_of": trial.number, "recorded": f"{trial.values[0]:.4f}" if trial.values else "no value"}
    return Candidate(f"trial {trial.number} of {run}", trial.params, trial.user_attrs.get("values", {}), facts)
