"""Reads a campaign file, applies overrides, and checks it with all search spaces that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.campaign.model import Campaign, CampaignCell, Change, MethodChange, Planned, Reruns
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.messages import at, describe, reason
from orchestrator.experiment.model import Experiment, ResourcesConfig
from orchestrator.experiment.overrides import SECTIONS
from orchestrator.experiment.yaml_nodes import KeyPath
from orchestrator.experiment.yaml_reader import COMMAND_LINE, Document, parse_scalar, read_yaml
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.plugins import did_you_mean


def is_campaign(path: Path) -> bool:
    """Whether a file is a campaign file, not a search space.

    Raises:
        InputError: it cannot be read.
    """
    return "methods" in read_yaml(path).values


def load_campaign(path: Path, overrides: list[str], folder: Path) -> Planned:
    """Read a campaign file and the search spaces that it names, apply overrides, and check all of them.

    Args:
        path: a campaign file.
        overrides: `KEY=VALUE`; a key that a campaign does not have goes into `set`, for every cell.
        folder: where the cells' runs will be; needed because some start from the winner of another cell.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    document = read_yaml(path)
    for override in overrides:
        _apply(document, override)
    try:
        campaign = Campaign.model_validate(document.values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(document, e) for e in error.errors(include_url=False))) from None
    cells: list[CampaignCell] = []
    wrong: list[str] = []
    for dataset, backbone, method in product(campaign.datasets, campaign.backbones, campaign.methods):
        try:
            cells.append(_cell(document, campaign, (method, backbone, dataset), folder))
        except InputError as error:
            wrong += str(error).splitlines()
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return Planned(path.stem, str(path), cells, campaign.reruns, campaign.published_points)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A value that a campaign changes in the file of a cell.

    Attributes:
        key: dotted path.
        value: the new value.
        place: the line of the campaign file that sets it; empty if no line does.
    """

    key: str
    value: Any
    place: KeyPath = ()


def _cell(document: Document, campaign: Campaign, names: tuple[str, str, str], folder: Path) -> CampaignCell:
    """The cell of a method, a backbone and a data set."""
    method, backbone, dataset = names
    chosen = campaign.methods[method]
    after = None if chosen.after is None else _name(campaign, chosen.after, backbone, dataset)
    start = [] if after is None else [_Setting("initial_run", str(folder / after), ("methods", method, "after"))]
    settings = [*_settings_of_all(campaign), *_settings_of(campaign, method, backbone), *start]
    settings.sort(key=lambda setting: document.places.get(setting.place) == COMMAND_LINE)  # stable: the user's win
    words = [f"{setting.key}={json.dumps(setting.value)}" for setting in settings]
    if variants := _variants(document, campaign, method, backbone):
        words = [f"variant={','.join(variants)}", *words]
    file = Path(document.file).parent / chosen.file.replace("{dataset}", dataset)
    try:
        loaded = load_experiment(file, words)
    except InputError as error:
        told = (_where(document, line, settings, ("methods", method)) for line in str(error).splitlines())
        raise InputError("\n".join(told)) from None
    if loaded.experiment.study.confirm is not None:
        what = "study.confirm is for a search alone; a campaign trains the best trials again with `reruns`"
        raise InputError(at(document, ("methods", method), what))
    if campaign.reruns is not None:
        _require_possible(document, loaded.experiment, campaign.reruns)
    return CampaignCell(_name(campaign, method, backbone, dataset), method, backbone, dataset, after, loaded)


def _name(campaign: Campaign, method: str, backbone: str, dataset: str) -> str:
    return "-".join([*([dataset] if len(campaign.datasets) > 1 else []), method, backbone])


def _variants(document: Document, campaign: Campaign, method: str, backbone: str) -> list[str]:
    """The variants of the file that a method and a backbone choose.

    Raises:
        InputError: both want the same one.
    """
    wanted = [one for one in (campaign.methods[method].variant, campaign.backbones[backbone].variant) if one]
    if len({*wanted}) < len(wanted):
        message = f"its variant {wanted[0]} and {wanted[1]} of backbone {backbone} exclude each other"
        raise InputError(at(document, ("methods", method), message))
    return wanted


RULES = {
    **{key: f"study.{key}" for key in ("trials", "sampler", "scheduler", "seed")},
    "checkpoint": "training.checkpoint",
}
"""Keys of a campaign -> the setting of every cell; those of `resources` have the same names in both."""


def _settings_of_all(campaign: Campaign) -> Iterator[_Setting]:
    """The rules of the comparison and what `set` changes, the same for every cell; all other settings come after them
    and win."""
    yield from (_Setting(setting, getattr(campaign, key), (key,)) for key, setting in RULES.items())
    yield _Setting("study.hours", None)  # of one search alone; here they share the machines
    for key, value in campaign.resources.model_dump().items():
        yield _Setting(f"resources.{key}", value, ("resources", key))
    yield from (_Setting(key, value, ("set", key)) for key, value in campaign.set.items())


def _settings_of(campaign: Campaign, method: str, backbone: str) -> Iterator[_Setting]:
    """The settings of a method and of a backbone."""
    for key, value in campaign.methods[method].set.items():
        yield _Setting(key, value, ("methods", method, "set", key))
    for key, value in campaign.backbones[backbone].set.items():
        yield _Setting(key, value, ("backbones", backbone, "set", key))


def _where(document: Document, line: str, settings: list[_Setting], place: KeyPath) -> str:
    """A mistake with its place: that of the setting that caused it, or that of the method, followed by the place in the
    method's file."""
    if not line.startswith(f"{COMMAND_LINE}: "):
        return at(document, place, line)
    text = line.removeprefix(f"{COMMAND_LINE}: ")
    named = [setting.place for setting in settings if text.removeprefix("trial.").startswith(setting.key)]
    return f"{document.place(named[-1] if named else place)}: {text}"


def _require_possible(document: Document, experiment: Experiment, reruns: Reruns) -> None:
    """Raise InputError if the settings of the trials that are trained again do not fit a cell."""
    try:
        experiment.configure(reruns.set)
    except KeyError as error:
        raise InputError(at(document, ("reruns", "set"), str(error.args[0]))) from None
    except ValueError as error:
        raise InputError(at(document, ("reruns", "set"), reason(error))) from None


def _apply(document: Document, override: str) -> None:
    """Put one `KEY=VALUE` into the document, or into its `set` if the campaign itself has no such key."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"{COMMAND_LINE}: {override!r}: expected KEY=VALUE, such as trials=4 or training.epochs=2")
    head, own, of_cells = key.split(".")[0], list(Campaign.model_fields), [*SECTIONS, *TrainConfig.model_fields]
    if head not in (*own, *of_cells):
        close = did_you_mean(head, [*own, *of_cells])
        raise InputError(
            f"{COMMAND_LINE}: {key}: unknown key{close}; a campaign has {', '.join(own)}, and its cells"
            f" {', '.join(of_cells)}"
        )
    *outer, last = _parts(key) if head in own else ("set", key)
    values, path = document.values, tuple[str | int, ...]()
    for part in outer:
        path = (*path, part)
        if not isinstance(values.get(part), dict):
            values[part], document.places[path] = {}, COMMAND_LINE
        values = values[part]
    values[last] = parse_scalar(text)
    _mark_as_said(document, (*path, last), values[last])


def _parts(key: str) -> list[str]:
    """The keys on the way to a value; what stands under a `set` is one dotted key."""
    parts = key.split(".")
    end = {"set": 0, "reruns": 1, "methods": 2, "backbones": 2}.get(parts[0], len(parts)) + 1
    return [*parts[:end], ".".join(parts[end:])] if parts[end - 1 : end] == ["set"] and parts[end:] else parts


def _mark_as_said(document: Document, path: KeyPath, value: object) -> None:
    """Note that a value and all in it come from the command line."""
    document.places[path] = COMMAND_LINE
    if isinstance(value, dict):
        for key, inner in value.items():
            _mark_as_said(document, (*path, key), inner)


def _explain(document: Document, error: ErrorDetails) -> str:
    path: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
    return at(document, path, describe(error, lambda: _allowed_keys(path[:-1])))


def _allowed_keys(path: KeyPath) -> list[str]:
    models: dict[str | int, type[BaseModel]] = {
        "methods": MethodChange,
        "backbones": Change,
        "reruns": Reruns,
        "resources": ResourcesConfig,
    }
    return list((models[path[0]] if path else Campaign).model_fields)
