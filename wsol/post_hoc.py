"""Settings that change no weight: a network is scored under many of them in one pass, and the best one is chosen.

pipelines(method, settings)    -> the same weights under every setting
best_place(scored, metric)     -> the first with the highest value
scored_best(...)               -> the record of an epoch: metrics under the best setting, and which one it is
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wsol import build
from wsol.checkpoint import OWN, SETTING
from wsol.config import TrainConfig
from wsol.data.images import ImageStore
from wsol.evaluation import Pipeline, evaluate_together
from wsol.method import Method
from wsol.schema import PluginConfig


def pipelines(method: Method, settings: Sequence[TrainConfig]) -> list[Pipeline]:
    """A method under every setting, with the weights that it has now.

    Args:
        method: the method as it is under the first setting.
        settings: settings that change no weight.

    Raises:
        InputError: one of the settings changes the weights that the method has.
    """
    built: list[tuple[PluginConfig, Method]] = [(settings[0].method, method)]
    for setting in settings:
        if all(setting.method != known for known, _ in built):
            built.append((setting.method, build.under(method, setting)))
    return [
        Pipeline(setting.evaluation, next(made for known, made in built if known == setting.method))
        for setting in settings
    ]


def best_place(scored: Sequence[Mapping[str, float]], metric: str) -> int:
    """The index of the highest value, the first one among equals; undefined values come last."""
    values = [one.get(metric, math.nan) for one in scored]
    return max(range(len(values)), key=lambda place: -math.inf if math.isnan(values[place]) else values[place])


def scored_best(
    method: Method, images: ImageStore, settings: Sequence[TrainConfig], metric: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Score a method under all settings.

    Returns:
        the metrics under the best one, and what is recorded of the choice: `SETTING` and `OWN`.
    """
    scored = evaluate_together(pipelines(method, settings), images)
    place = best_place(scored, metric)
    return scored[place], {SETTING: float(place), OWN: scored[0].get(metric, math.nan)}
