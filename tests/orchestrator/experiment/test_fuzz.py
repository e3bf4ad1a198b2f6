"""Thousands of damaged search-space files: each is either refused with file, line and key, or means the same after a
round trip."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.experiment.load import load_experiment, parse_experiment
from orchestrator.formats import to_yaml
from tests.support.paths import ROOT
from wsol.errors import InputError

FILES = sorted((ROOT / "search_spaces").glob("*.yaml"))
ROUNDS = 2400
ODD: list[Any] = [
    None, True, -1, 0, 10**30, 1e308, -1e-308, float("inf"), float("nan"), "", "3", "naïve ünïcode \u2028 text", "\x7f", "a" * 5000, [], {}, [[]],
    {"name": "cam"}, {"name": []}, {"name": {"name": "x"}}, {"low": 1, "high": 0}, {"choices": []}, {"low": "method", "high": "method.x"}, ["x", 1],
    "2020-01-01", "trial.method", {"deep": {"deeper": {"deepest": [1, {"a": None}]}}},
]  # fmt: skip


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in nested mappings and lists."""
    inside = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [found for key, value in inside for found in [(*path, key), *places(value, (*path, key))]]


def at(values: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


def drop(values: Any, path: tuple[Any, ...], draw: random.Random) -> None:
    del at(values, path[:-1])[path[-1]]


def rename(values: Any, path: tuple[Any, ...], draw: random.Random) -> None:
    owner = at(values, path[:-1])
    if isinstance(owner, dict):
        owner[draw.choice([f"{path[-1]}x", str(path[-1])[:-1], "", "méthode", 7, None, "a.b.c", "name"])] = owner.pop(
            path[-1]
        )


def retype(values: Any, path: tuple[Any, ...], draw: random.Random) -> None:
    at(values, path[:-1])[path[-1]] = copy.deepcopy(draw.choice(ODD))


def nest(values: Any, path: tuple[Any, ...], draw: random.Random) -> None:
    for _ in range(draw.choice([1, 3, 30])):
        retyped = at(values, path[:-1])
        retyped[path[-1]] = {"x": retyped[path[-1]]} if draw.random() < 0.5 else [retyped[path[-1]]]


def swap(values: Any, path: tuple[Any, ...], draw: random.Random) -> None:
    other = draw.choice(places(values))
    at(values, path[:-1])[path[-1]] = copy.deepcopy(at(values, other))


CHANGES: list[Callable[[Any, tuple[Any, ...], random.Random], None]] = [drop, rename, retype, nest, swap]


def damaged(text: str, draw: random.Random) -> str:
    """A file with one to three changes of what it says, or of its characters."""
    if draw.random() < 0.25:
        position = draw.randrange(len(text))
        line = draw.choice(text.splitlines(keepends=True))
        return draw.choice(
            [
                text[:position] + draw.choice("{}[]:\"'#&*!|>%@`\t\x00é-,\n") + text[position + 1 :],
                text + line,
                text[:position],
                line + text,
            ]
        )
    values = yaml.safe_load(text)
    for _ in range(draw.choice([1, 1, 2, 3])):
        if found := places(values):
            draw.choice(CHANGES)(values, draw.choice(found), draw)
    return str(yaml.safe_dump(values, allow_unicode=draw.random() < 0.5, sort_keys=draw.random() < 0.5))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_damaged_files_are_refused_or_mean_the_same(file: Path) -> None:
    draw, text = random.Random(file.stem), to_yaml(load_experiment(file).experiment.model_dump(mode="json"))
    refused = 0
    for _ in range(-(-ROUNDS // len(FILES))):
        changed = damaged(text, draw)
        try:
            experiment = parse_experiment(changed, "space.yaml")
        except InputError as error:
            refused += 1
            for line in str(error).splitlines():
                assert re.match(r"space\.yaml(:\d+)?: .", line), f"{line!r} says not where, for:\n{changed}"
        else:
            assert parse_experiment(to_yaml(experiment.model_dump(mode="json")), "again.yaml") == experiment
    assert refused > ROUNDS / len(FILES) / 3  # most changes do harm
