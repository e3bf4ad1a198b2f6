"""Thousands of damaged search-space files: each is either refused with file, line and key, or means the same after a
round trip."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from orchestrator.experiment.load import load_experiment, parse_experiment
from orchestrator.formats import printable, to_yaml
from tests.support.paths import ROOT
from wsol.errors import InputError

FILES = sorted((ROOT / "search_spaces").glob("*.yaml"))
ROUNDS = 2400
ODD: list[Any] = [
    *(None, True, -1, 0, 10**30, -(10**400), 2**63, 1e308, -1e-308, float("inf"), float("nan"), "", "3", "off", "1:30"),
    *(
        "naïve ünïcode \u2028 text",
        "\x7f",
        "\x1b[31mred\x1b[0m",
        "two\nlines",
        "\u202e",
        "a" * 5000,
        "2020-01-01",
        "1e400",
    ),
    *([], {}, [[]], ["x", 1], {"name": "cam"}, {"name": []}, {"name": {"name": "x"}}, {"\x1b[2J": 1}, "trial.method"),
    *({"low": 1, "high": 0}, {"choices": []}, {"choices": [1, 1]}, {"low": "method", "high": "method.x"}),
    *({"low": 1, "high": 9, "step": 1.5}, {"low": 1, "high": 9, "when": {"method.name": "cam"}}),
    {"deep": {"deeper": {"deepest": [1, {"a": None}]}}},
]


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


def with_alias(text: str, draw: random.Random) -> str:
    """A mapping or value of the file once more elsewhere, as an alias or merged, or in itself."""
    lines = text.splitlines()
    first, second = sorted(draw.sample(range(len(lines)), 2))
    lines[first] = re.sub(r":( |$)", r": &again\1", lines[first], count=1)
    indent = re.match(" *", lines[second])[0]  # type: ignore[index]
    key = lines[second].strip().partition(":")[0] or "x"
    new = draw.choice(
        [f"{indent}<<: *again", f"{indent}{key}: *again", f"{indent}<<: [*again, *again]", f"{indent}- *again"]
    )
    lines.insert(second + draw.choice([0, 1]), new) if draw.random() < 0.5 else lines.__setitem__(second, new)
    return "\n".join(lines) + "\n"


def with_characters(text: str, draw: random.Random) -> str:
    """Other characters somewhere, a line twice, or only a part of the file."""
    position, line = draw.randrange(len(text)), draw.choice(text.splitlines(keepends=True))
    signs = draw.choice(
        ["{", "}", "[", "]", ":", '"', "'", "#", "&a ", "*a ", "!!int ", "|", ">", "%", "@", "`", "\t", "\x00"]
    )
    more = draw.choice(
        ["é", "-", ",", "\n", "\x1b[31m", "\x85", "\ufeff", '"\\e[31m"', '"\\ud800"', "9" * 5000, "1e999", "<<: "]
    )
    return draw.choice(
        [
            text[:position] + signs + text[position + 1 :],
            text[:position] + more + text[position + 1 :],
            text + line,
            text[:position],
            line + text,
        ]
    )


@cache
def read(text: str) -> Any:
    """Its values; what changes them copies them first."""
    return yaml.load(text, yaml.CSafeLoader)


def damaged(text: str, draw: random.Random) -> str:
    """A file with one to three changes of what it says, or of its characters."""
    kind = draw.random()
    if kind < 0.4:
        return with_characters(text, draw) if kind < 0.25 else with_alias(text, draw)
    values = copy.deepcopy(read(text))
    for _ in range(draw.choice([1, 1, 2, 3])):
        if found := places(values):
            draw.choice(CHANGES)(values, draw.choice(found), draw)
    options = {"allow_unicode": draw.random() < 0.5, "sort_keys": draw.random() < 0.5}
    return str(yaml.dump(values, Dumper=yaml.CSafeDumper, **options))


def require_refused_in_words(error: InputError, changed: str) -> None:
    """Every line says where, and has nothing that a terminal would obey."""
    for line in str(error).split("\n"):
        assert re.match(r"space\.yaml(:\d+)?: .", line), f"{line!r} says not where, for:\n{changed}"
        assert printable(line) == line, f"{line!r} is not printable, for:\n{changed}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_damaged_files_are_refused_or_mean_the_same(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not refused is the same after a round trip, and whatever is drawn from it is a configuration."""
    monkeypatch.chdir(tmp_path)
    draw, text = random.Random(file.stem), to_yaml(load_experiment(file).experiment.model_dump(mode="json"))
    refused = 0
    for _ in range(-(-ROUNDS // len(FILES))):
        changed = damaged(text, draw)
        Path("space.yaml").write_text(changed, encoding="utf-8", newline="")
        try:
            experiment = load_experiment(Path("space.yaml")).experiment
        except InputError as error:
            refused += 1
            require_refused_in_words(error, changed)
        else:
            assert parse_experiment(to_yaml(experiment.model_dump(mode="json")), "again.yaml") == experiment
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
            for _ in range(3):
                experiment.configure(experiment.space().suggest(study.ask(), experiment.base()))
    assert refused > ROUNDS / len(FILES) / 3  # most changes do harm
