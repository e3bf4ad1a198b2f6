"""The grace period of a trial: the epochs in which it is too early to compare it with others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.paths import Values, with_value_at

BEGINS = {"start_epoch", "warmup_fraction"}
"""The names of settings, in every configuration, that say when something begins or when a warm-up ends."""
DECAYS = {"lr_decay_every"}
"""Those that say when the learning rate falls: before it, values are lower and noisier, but they can be compared."""


def grace_epochs(experiment: Experiment) -> int:
    """The first epoch after which a trial may be stopped: all parts of every configuration have begun, and the study's
    `grace_epochs` have passed or, if it names none, the learning rate has decayed once."""
    asked = experiment.study.grace_epochs
    settles = BEGINS if asked else BEGINS | DECAYS
    latest = {
        path: max(distribution.ends(), key=_or_zero)
        for path, distribution in experiment.search.items()
        if path.rpartition(".")[2] in settles and distribution.ends()
    }
    variants = [point.values for point in experiment.points] + [
        {**experiment.conditions(path), path: end} for path, end in latest.items()
    ]
    plains = [experiment.base(), *(experiment.plain(values) for values in variants)]
    return max([asked or 1, *(_settled_from(plain, settles) for plain in plains)])


def _settled_from(plain: Values, settles: set[str]) -> int:
    """The epoch (1-based) by which everything that the settings of these names put off has happened."""
    epochs: int = plain["training"]["epochs"]
    if decays := plain["optim"]["lr_decay_epochs"]:
        plain = with_value_at(plain, "optim.lr_decay_every", min(decays))
    begins: list[int] = [
        round(value * epochs) + 1 if name == "warmup_fraction" else value
        for name, value in _leaves(plain)
        if name in settles
    ]
    return max([1, *(begin for begin in begins if begin <= epochs)])


def _leaves(plain: Values) -> Iterator[tuple[str, Any]]:
    """Name and value of everything in nested mappings that is not a mapping itself."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value


def _or_zero(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0
