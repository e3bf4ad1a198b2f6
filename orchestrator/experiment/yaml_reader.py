"""YAML as people expect it: no duplicate keys, `1e-3` is a number, every value knows its line, and a file can extend
others."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import yaml

from orchestrator.shipped import shipped
from wsol.errors import InputError, first_line

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a file to a value."""


MAX_DEPTH = 50


EXTENDS = "extends"


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, and the place where each key stands: `file:line`, or `command line`."""

    file: str
    values: dict[str, Any]
    places: dict[KeyPath, str]

    def place(self, path: KeyPath) -> str:
        """Place of a key, or of the nearest key above it that stands somewhere."""
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


class _Loader(yaml.SafeLoader):
    pass


# YAML 1.1 reads 1e-3 as text because the dot is missing; people mean the number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Document:
    """Read a file, of the user or shipped. Its top key `extends`, a file name or a list of them, relative to it, names
    what it is merged over, see `merged`.

    Raises:
        InputError: missing file, no UTF-8, bad syntax, duplicate or non-text keys, no mapping at the top, files that
            extend each other; with file and line.
    """
    return _read(shipped(path), ())


def merged(under: Document, over: Document) -> Document:
    """One document over another: of two mappings the keys of both, `over`'s values where both have one; anything else
    is replaced.

    Mappings with another `name`, two plugins, are no two forms of one thing, and the upper one replaces the lower.
    """
    places = dict(under.places)
    values = _merged(under.values, over.values, (), places)
    return Document(over.file, values, {**places, **over.places})


def parse_yaml(text: str, file: str) -> Document:
    """Parse a text; `file` is its name in messages.

    Raises:
        InputError: as `read_yaml`, of files excepted.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{file}: is empty")
        places: dict[KeyPath, str] = {}
        values = _construct(loader, node, (), places, file)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{line}: YAML syntax: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{file}: not readable as YAML: {first_line(error)}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(values, dict):
        raise InputError(f"{file}:1: expected keys at the top, got {type(values).__name__}")
    return Document(file, values, places)


def parse_scalar(text: str) -> Any:
    """The value of `KEY=VALUE` on a command line, read as YAML: numbers, true/false, null, lists, mappings, else
    text."""
    try:
        return parse_yaml(f"value: {text}", "value").values["value"]
    except InputError:
        return text


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
        if not other.is_file():
            raise InputError(f"{place}: extends: there is no file {other}")
        if other.resolve() in (one.resolve() for one in chain):
            raise InputError(f"{place}: extends: a circle, {' -> '.join(map(str, (*chain, other)))}")
        parts.append(_read(other, chain))
    return reduce(merged, [*parts, document])


_parsed = lru_cache(maxsize=64)(parse_yaml)
"""What many files extend is parsed once: PyYAML takes longer for it than everything else for a file."""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None


def _merged(under: dict[str, Any], over: dict[str, Any], path: KeyPath, places: dict[KeyPath, str]) -> dict[str, Any]:
    """`places` are those of `under`; what is replaced is taken out."""
    values = dict(under)
    for key, value in over.items():
        here = (*path, key)
        if _one_thing(under.get(key), value):
            values[key] = _merged(under[key], value, here, places)
        else:
            values[key] = value
            for replaced in [place for place in places if place[: len(here)] == here]:
                del places[replaced]
    return values


def _one_thing(under: Any, over: Any) -> bool:
    return (
        isinstance(under, dict) and isinstance(over, dict) and over.get("name", under.get("name")) == under.get("name")
    )


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, places: dict[KeyPath, str], file: str) -> Any:
    if len(path) > MAX_DEPTH:
        raise InputError(f"{file}:{node.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(loader, node, path, places, file)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, child in enumerate(node.value):
            places[(*path, index)] = f"{file}:{child.start_mark.line + 1}"
            items.append(_construct(loader, child, (*path, index), places, file))
        return items
    return loader.construct_object(node)


def _construct_mapping(
    loader: _Loader, node: yaml.MappingNode, path: KeyPath, places: dict[KeyPath, str], file: str
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            raise InputError(f"{file}:{line}: keys are text, got {key_node.value!r}")
        if key in values:
            raise InputError(
                f"{file}:{line}: {'.'.join(map(str, (*path, key)))}: stands twice, first in line {lines[key]}"
            )
        lines[key], places[(*path, key)] = line, f"{file}:{line}"
        values[key] = _construct(loader, value_node, (*path, key), places, file)
    return values
