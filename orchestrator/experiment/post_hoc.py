"""Post-hoc settings: what changes no weight and is chosen after training."""

from __future__ import annotations

from itertools import product
from typing import Any

from orchestrator.experiment.paths import value_at_path, with_value_at
from wsol.config import TrainConfig


def post_hoc_settings(config: TrainConfig, post_hoc: dict[str, list[Any]]) -> list[tuple[dict[str, Any], TrainConfig]]:
    """The configuration as it is, then with every other combination of post-hoc values, those that change least first:
    of several that score alike, the first one is closest to what was published."""
    found: list[tuple[dict[str, Any], TrainConfig]] = [({}, config)]
    for values in product(*post_hoc.values()):
        setting = dict(zip(post_hoc, values, strict=True))
        plain = config.model_dump()
        for path, value in setting.items():
            plain = with_value_at(plain, path, value)
        changed = TrainConfig.model_validate(plain)
        if changed not in (other for _, other in found):
            found.append((setting, changed))
    own = config.model_dump()

    def changes(setting: tuple[dict[str, Any], TrainConfig]) -> int:
        plain = setting[1].model_dump()
        return sum(value_at_path(plain, path) != value_at_path(own, path) for path in setting[0])

    return sorted(found, key=changes)
