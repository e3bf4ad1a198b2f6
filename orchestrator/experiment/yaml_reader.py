"""YAML files as people expect them: no duplicate keys, every value knows its line, and a file can extend others."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

from orchestrator.experiment.paths import Values
from orchestrator.experiment.scalars import plain_scalar
from orchestrator.experiment.yaml_nodes import MAX_CHARACTERS, KeyPath, YamlSyntaxError, parse_nodes
from orchestrator.formats import one_line
from orchestrator.shipped import shipped
from wsol.errors import InputError
from wsol.files import is_file

EXTENDS = "extends"

COMMAND_LINE = "command line"
"""The place of values from the command line."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, and the place where each key stands: `file:line`, or `command line`."""

    file: str
    values: Values
    places: dict[KeyPath, str]

    def place(self, path: KeyPath) -> str:
        """Place of a key, or of the nearest key above it that has a place."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, f"{self.file}:1")

    def part(self, path: KeyPath) -> Document:
        """The mapping at a path as a document of its own."""
        values = self.values
        for key in path:
            values = values[key]  # type: ignore[index]
        places = {
            other[len(path) :]: place
            for other, place in self.places.items()
            if other[: len(path)] == path and other != path
        }
        return Document(self.file, values, places)


def read_yaml(path: Path) -> Document:
    """Read a file of the user, or a shipped one. Its top-level key `extends` names a file, or a list of files, relative
    to it, over which it is merged; see `merged`.

    Raises:
        InputError: missing file, not UTF-8, bad syntax, duplicate or non-text keys, no mapping at the top, files that
            extend each other; the message has file and line.
    """
    return _read(shipped(path), ())


def merged(under: Document, over: Document) -> Document:
    """Merge one document over another. Two mappings give the keys of both, with the value of `over` where both have
    one; anything else is replaced.

    Mappings with different `name`s are different plugins, so the upper one replaces the lower one.
    """
    replaced: set[KeyPath] = set()
    values = _merged(under.values, over.values, (), replaced)
    kept = {
        path: place
        for path, place in under.places.items()
        if not any(path[:length] in replaced for length in range(1, len(path) + 1))
    }
    return Document(over.file, values, {**kept, **over.places})


def parse_yaml(text: str, file: str) -> Document:
    """Parse a text; `file` is its name in messages.

    Raises:
        InputError: see `read_yaml`, except for missing files.
    """
    parsed = parse_nodes(text, file)
    if not isinstance(parsed.value, dict):
        raise InputError(f"{file}:1: expected keys at the top, got {type(parsed.value).__name__}")
    return Document(file, parsed.value, parsed.places)


def parse_scalar(text: str) -> Any:
    """The value of `KEY=VALUE` on a command line. Lists, mappings and quoted text are read as in YAML; everything else
    is one scalar, so that a path is kept whole, even with ` #` or `: ` in it.

    Raises:
        InputError: a number is beyond 64 bits, a key stands twice, or the value is beyond the limits of `yaml_nodes`.
    """
    stripped = text.strip()
    try:
        if stripped.startswith(("[", "{", '"', "'")):
            with suppress(YamlSyntaxError):
                parsed = parse_nodes(stripped, COMMAND_LINE)
                return parsed.value if parsed.is_one_value else stripped
        return plain_scalar(stripped)
    except ValueError as error:
        raise InputError(f"{COMMAND_LINE}: {error}") from None


def _read(path: Path, extended_by: tuple[Path, ...]) -> Document:
    document = deepcopy(_parsed(_text(path), str(path)))
    names = document.values.pop(EXTENDS, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{document.place((EXTENDS,))}: extends: should be a file name, or a list of them")
    chain = (*extended_by, path)
    parts = []
    for index, name in enumerate(names):
        other, place = path.parent / name, document.place((EXTENDS, index))
        if not is_file(other):
            raise InputError(f"{place}: extends: there is no file {one_line(str(other))}")
        if other.resolve() in (one.resolve() for one in chain):
            raise InputError(f"{place}: extends: a circle, {' -> '.join(map(str, (*chain, other)))}")
        parts.append(_read(other, chain))
    return reduce(merged, [*parts, document])


_parsed = lru_cache(maxsize=64)(parse_yaml)
"""Files that many others extend are parsed only once, because PyYAML takes longer for them than everything else."""


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_CHARACTERS + 1)  # of a longer one, enough to refuse it
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None


def _merged(under: Values, over: Values, path: KeyPath, replaced: set[KeyPath]) -> Values:
    """See `merged`; adds the paths at which values of `under` are replaced to a set."""
    values = dict(under)
    for key, value in over.items():
        here = (*path, key)
        if _one_thing(under.get(key), value):
            values[key] = _merged(under[key], value, here, replaced)
        else:
            values[key] = value
            replaced.add(here)
    return values


def _one_thing(under: Any, over: Any) -> bool:
    return (
        isinstance(under, dict) and isinstance(over, dict) and over.get("name", under.get("name")) == under.get("name")
    )
