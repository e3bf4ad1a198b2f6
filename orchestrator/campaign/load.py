"""A campaign file is read, changed by overrides and checked, with all search spaces that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    """Whether a file is a campaign, and no search space.

    Raises:
        InputError: it cannot be read.
    """
    return "methods" in read_yaml(path).values


def load_campaign(path: Path, overrides: list[str], folder: Path) -> Planned:
    """Read, override and check a file and the search spaces that it names.

    Args:
        path: a campaign file.
        overrides: `KEY=VALUE`; what names no key of a campaign is meant in `set`, in every cell.
        folder: where the cells' runs will be: some start from the winner of another.

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
    for dataset, backbone, method in (
        (d, b, m) for d in campaign.datasets for b in campaign.backbones for m in campaign.methods
    ):
        try:
            cells.append(_cell(document, campaign, (method, backbone, dataset), folder))
        except InputError as error:
            wrong += str(error).splitlines()
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return Planned(path.stem, str(path), cells, campaign.reruns, campaign.published_points)


def _cell(document: Document, campaign: Campaign, names: tuple[str, str, str], folder: Path) -> CampaignCell:
    method, backbone, dataset = names
    chosen, base = campaign.methods[method], campaign.methods[method].after
    after = None if base is None else _name(campaign, base, backbone, dataset)
    changes = list(_changes(campaign, method, backbone, None if after is None else str(folder / after)))
    variants = [change.variant for change in (chosen, campaign.backbones[backbone]) if change.variant is not None]
    place: KeyPath = ("methods", method)
    if len(variants) > 1:
        raise InputError(
            at(
                document,
                place,
                f"its variant {variants[0]} and {variants[1]} of backbone {backbone} exclude each other",
            )
        )
    words = [f"variant={variant}" for variant in variants] + [f"{key}={json.dumps(value)}" for key, value, _ in changes]
    try:
        loaded = load_experiment(Path(document.file).parent / chosen.file.replace("{dataset}", dataset), words)
    except InputError as error:
        raise InputError(
            "\n".join(_where(document, line, changes, place) for line in str(error).splitlines())
        ) from None
    if campaign.reruns is not None:
        _require_possible(document, loaded.experiment, campaign.reruns)
    return CampaignCell(_name(campaign, method, backbone, dataset), method, backbone, dataset, after, loaded)


def _name(campaign: Campaign, method: str, backbone: str, dataset: str) -> str:
    return "-".join([*([dataset] if len(campaign.datasets) > 1 else []), method, backbone])


def _changes(campaign: Campaign, method: str, backbone: str, start: str | None) -> Iterator[tuple[str, Any, KeyPath]]:
    """Key, value, and where it stands; later ones win."""
    yield from (("study." + key, getattr(campaign, key), (key,)) for key in ("trials", "sampler", "seed"))
    yield "study.hours", None, ()  # of one search alone; here they share the machines
    yield "training.checkpoint", campaign.checkpoint, ("checkpoint",)
    yield from (
        (f"resources.{key}", value, ("resources", key)) for key, value in campaign.resources.model_dump().items()
    )
    for path, change in (
        (("methods", method), campaign.methods[method]),
        (("backbones", backbone), campaign.backbones[backbone]),
    ):
        yield from ((key, value, (*path, "set", key)) for key, value in change.set.items())
    if start is not None:
        yield "initial_run", start, ("methods", method, "after")
    yield from ((key, value, ("set", key)) for key, value in campaign.set.items())


def _where(document: Document, line: str, changes: list[tuple[str, Any, KeyPath]], place: KeyPath) -> str:
    """A mistake that a change made, at the change; any other, at the method, after which its own place follows."""
    if not line.startswith(f"{COMMAND_LINE}: "):
        return at(document, place, line)
    text = line.removeprefix(f"{COMMAND_LINE}: ")
    named = [path for key, _, path in changes if text.removeprefix("trial.").startswith(key)]
    return f"{document.place(named[-1] if named else place)}: {text}"


def _require_possible(document: Document, experiment: Experiment, reruns: Reruns) -> None:
    try:
        experiment.configure(reruns.set)
    except KeyError as error:
        raise InputError(at(document, ("reruns", "set"), str(error.args[0]))) from None
    except ValueError as error:
        raise InputError(at(document, ("reruns", "set"), reason(error))) from None


def _apply(document: Document, override: str) -> None:
    """Put one `KEY=VALUE` into the document."""
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
    *outer, last = key.split(".") if head in own else ("set", key)
    values, path = document.values, tuple[str | int, ...]()
    for part in outer:
        path = (*path, part)
        if not isinstance(values.get(part), dict):
            values[part], document.places[path] = {}, COMMAND_LINE
        values = values[part]
    values[last], document.places[(*path, last)] = parse_scalar(text), COMMAND_LINE


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
