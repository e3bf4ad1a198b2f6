"""Post-hoc settings: they change no weight, and are chosen after training or after every epoch of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from orchestrator.experiment.paths import Values, value_at_path, with_value_at
from wsol.config import TrainConfig
from wsol.errors import InputError

MOST_SETTINGS = 10_000
"""Largest number of combinations of post-hoc values in one experiment."""

Setting = tuple[Values, TrainConfig]
"""The values of a setting (dotted path -> value), and the configuration with them."""


def post_hoc_settings(config: TrainConfig, post_hoc: Mapping[str, list[Any]]) -> list[Setting]:
    """The configuration as it is, always first; then with every other combination of post-hoc values, ordered by how
    little they change. Taking the first of several with equal scores therefore stays closest to the published
    configuration.

    Raises:
        KeyError: the configuration has no such path.
        ValueError: a combination is not allowed.
    """
    own = config.model_dump()
    found: dict[str, Setting] = {config.model_dump_json(): ({}, config)}
    for values in product(*post_hoc.values()):
        setting = dict(zip(post_hoc, values, strict=True))
        changed = with_setting(config, setting)
        found.setdefault(changed.model_dump_json(), (setting, changed))
    return sorted(found.values(), key=lambda setting: _count_changes(own, setting))


def with_setting(config: TrainConfig, values: Values) -> TrainConfig:
    """The configuration with a chosen setting; raises the errors of `post_hoc_settings`."""
    plain = config.model_dump()
    for path, value in values.items():
        plain = with_value_at(plain, path, value)
    return TrainConfig.model_validate(plain)


def require_choosable(config: TrainConfig, post_hoc: Mapping[str, list[Any]]) -> None:
    """Raises InputError if post-hoc settings are to be chosen and no image of train_fullsup is left to choose them."""
    if post_hoc and config.selects_blindly:
        raise InputError(f"post_hoc: {nothing_left(config)}: leave it out, as with post_hoc={{}}")


def nothing_left(config: TrainConfig) -> str:
    """The reason why nothing can be chosen where all images of train_fullsup are trained on."""
    return f"{config.method.name} trains on all images of train_fullsup here, and none is left to choose by"


def chosen_twice(search: Iterable[str], post_hoc: Iterable[str]) -> list[str]:
    """Searched paths that are also post-hoc paths, or hold one, or lie inside one."""
    chosen = [f"{path}." for path in post_hoc]
    return [path for path in search if any(f"{path}.".startswith(one) or one.startswith(f"{path}.") for one in chosen)]


def _count_changes(own: Values, setting: Setting) -> int:
    plain = setting[1].model_dump()
    return sum(value_at_path(plain, path) != value_at_path(own, path) for path in setting[0])
