"""Finds how configurations differ, in the fewest words that tell them apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.experiment.paths import Values
from orchestrator.formats import method_label, plain_text
from wsol.schema import CHANGES_NO_NUMBER

SECTIONS = ("evaluation", "backbone", "method", "optim", "training", "data", "initial_run")
"""The order of sections: two runs of one method differ most often in how their maps are made."""

IN_OTHER_COLUMNS = ("method.name", "backbone.name", "backbone.model", "data.name")


def differences(configs: Sequence[Values]) -> list[tuple[str, ...]]:
    """The settings that distinguish each configuration from the others, such as `grad_cam`, `percentile=45`,
    `stride=8`.

    A setting of a plugin is compared among configurations with the same plugin, and the optimizer among those of the
    same method, because other methods need other values. Seeds, metrics, the places of files, and the contents of other
    columns of a comparison are left out.

    Args:
        configs: the configurations of trainings, as `TrainConfig` writes them; older ones lack some settings.

    Returns:
        The distinguishing words of each configuration, extractor and normalizer first.
    """
    settings = [dict(_settings(config, "")) for config in configs]
    kinds = [method_label(config["method"]) for config in configs]
    paths = {path: None for own in settings for path in own if _is_compared(path)}
    told: list[list[str]] = []
    for own, kind in zip(settings, kinds, strict=True):
        alike = [(other, kind == other_kind) for other, other_kind in zip(settings, kinds, strict=True)]
        told.append([path for path in paths if path in own and _differs(path, own, alike)])
    shown = sorted({path for some in told for path in some}, key=_rank)
    names = _short_names(shown)
    return [
        tuple(_word(path, own[path], names[path]) for path in shown if path in some and own[path] is not None)
        for own, some in zip(settings, told, strict=True)
    ]


def _settings(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Dotted path -> value, for all values that are not mappings."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from _settings(inner, f"{path}.{key}" if path else str(key))


def _is_compared(path: str) -> bool:
    return (
        path.partition(".")[0] in SECTIONS
        and path not in (*IN_OTHER_COLUMNS, *CHANGES_NO_NUMBER, "evaluation.metrics")
        and not (path.startswith("method.") and path.endswith("base.name"))  # in the label of the method
    )


def _differs(path: str, own: Values, others: Sequence[tuple[Values, bool]]) -> bool:
    """Whether a setting has another value in a configuration that it is compared with; `others` says for each whether
    its method is the same."""
    around = _plugins_around(path, own)
    return any(
        path in other and _plugins_around(path, other) == around and other[path] != own[path]
        for other, has_same_method in others
        if has_same_method or not path.startswith("optim.")
    )


def _plugins_around(path: str, settings: Values) -> list[Any]:
    """The names of the plugins that a setting belongs to; the name of a plugin belongs to those around that one."""
    parts = path.removesuffix(".name").split(".")
    return [settings.get(f"{'.'.join(parts[:end])}.name") for end in range(1, len(parts))]


def _rank(path: str) -> tuple[int, bool, str]:
    """Sort key: the sections in their order; within each, plugin names first."""
    return SECTIONS.index(path.partition(".")[0]), not path.endswith(".name"), path


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """For each path, as few of its last components as tell it from the others; the name of a plugin counts as the
    plugin."""
    ends = {path: path.removesuffix(".name").split(".") for path in paths}
    names = {}
    for path, parts in ends.items():
        others = [other for one, other in ends.items() if one != path]
        clear = (end for end in range(1, len(parts)) if all(other[-end:] != parts[-end:] for other in others))
        names[path] = ".".join(parts[-next(clear, len(parts)) :])
    return names


def _word(path: str, value: Any, name: str) -> str:
    if path == "initial_run":
        return f"from {Path(value).name}"
    if path.endswith(".name"):
        return str(value) if "." not in name else f"{name}={value}"
    return f"{name}={json.dumps(value) if isinstance(value, bool | list) else plain_text(value)}"
