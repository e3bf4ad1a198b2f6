"""YAML as people expect it: no duplicate keys, `1e-3` is a number, and every value knows its line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsol.errors import InputError

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a file to a value."""

MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: plain values, and the line (1-based) where each key stands."""

    file: str
    values: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """Line of a key, or of the nearest key above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    pass


# YAML 1.1 reads 1e-3 as text because the dot is missing; people mean the number.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def read_yaml(path: Path) -> Document:
    """Read a file.

    Raises:
        InputError: missing file, no UTF-8, bad syntax, duplicate or non-text keys, no mapping at the top; with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str) -> Document:
    """Parse a text; `file` is its name in messages."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{file}: is empty")
        lines: dict[KeyPath, int] = {}
        values = _construct(loader, node, (), lines, file)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{line}: YAML syntax: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{file}: not readable as YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(values, dict):
        raise InputError(f"{file}:1: expected keys at the top, got {type(values).__name__}")
    return Document(file, values, lines)


def parse_scalar(text: str) -> Any:
    """The value of `KEY=VALUE` on a command line, read as YAML: numbers, true/false, null, lists, mappings, else text."""
    try:
        return parse_yaml(f"value: {text}", "value").values["value"]
    except InputError:
        return text


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], file: str) -> Any:
    if len(path) > MAX_DEPTH:
        raise InputError(f"{file}:{node.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(loader, node, path, lines, file)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, child in enumerate(node.value):
            lines[(*path, index)] = child.start_mark.line + 1
            items.append(_construct(loader, child, (*path, index), lines, file))
        return items
    return loader.construct_object(node)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int], file: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            raise InputError(f"{file}:{line}: keys are text, got {key_node.value!r}")
        if key in values:
            raise InputError(f"{file}:{line}: {'.'.join(map(str, (*path, key)))}: stands twice, first in line {lines[(*path, key)]}")
        lines[(*path, key)] = line
        values[key] = _construct(loader, value_node, (*path, key), lines, file)
    return values
