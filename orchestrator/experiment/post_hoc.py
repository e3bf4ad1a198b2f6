"""Post-hoc settings: what changes no weight and is chosen after training, or after every epoch of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from orchestrator.experiment.paths import Values, value_at_path, with_value_at
from wsol.config import TrainConfig

MOST_SETTINGS = 10_000
"""Combinations of post-hoc values that one experiment may have."""

Setting = tuple[Values, TrainConfig]
"""Dotted path -> value of what is set, and the configuration with it."""


def post_hoc_settings(config: TrainConfig, post_hoc: Mapping[str, list[Any]]) -> list[Setting]:
    """The configuration as it is, always and first, then with every other combination of post-hoc values, those that
    change least first: who takes the first of several that score alike stays closest to what was published.

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
    """The configuration with a setting that was chosen; raises as `post_hoc_settings`."""
    plain = config.model_dump()
    for path, value in values.items():
        plain = with_value_at(plain, path, value)
    return TrainConfig.model_validate(plain)


def chosen_twice(search: Iterable[str], post_hoc: Iterable[str]) -> list[str]:
    """Searched paths that are, hold, or are part of what is chosen afterwards."""
    chosen = [f"{path}." for path in post_hoc]
    return [path for path in search if any(f"{path}.".startswith(one) or one.startswith(f"{path}.") for one in chosen)]


def _count_changes(own: Values, setting: Setting) -> int:
    plain = setting[1].model_dump()
    return sum(value_at_path(plain, path) != value_at_path(own, path) for path in setting[0])
