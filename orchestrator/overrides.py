"""`KEY=VALUE` of the command line, put into a parsed search-space file before it is checked."""

from __future__ import annotations

from typing import Any

from orchestrator.yaml_reader import Document, KeyPath, parse_scalar
from wsol.errors import InputError

SECTIONS = ("trial", "search", "points", "post_hoc", "study", "resources")


def apply_override(document: Document, override: str) -> str | None:
    """Put one `KEY=VALUE` into the document; a note if that ends the search of a value."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"command line: {override!r}: expected KEY=VALUE, such as optim.lr=1e-4")
    section, _, rest = key.partition(".")
    if section not in SECTIONS or not rest:
        section, rest = "trial", key
    values = document.values.setdefault(section, {})
    path = _searched_path(values, rest) if section in ("search", "post_hoc") else rest.split(".")
    place: KeyPath = (section,)
    for part in path[:-1]:
        place = (*place, int(part) if part.isdigit() else part)
        if isinstance(values, dict) and part not in values:
            document.lines[place] = 0
        values = _below(values, part, key)
    _put(values, path[-1], parse_scalar(text), key)
    document.lines[(*place, path[-1])] = 0
    searched = document.values.get("search")
    if section == "trial" and isinstance(searched, dict) and searched.pop(rest, None) is not None:
        return f"{rest} is fixed at {text} and no longer searched"
    return None


def _searched_path(values: Any, path: str) -> list[str]:
    """Keys of `search` and `post_hoc` hold dots themselves: the longest one that is there counts as one key."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        if isinstance(values, dict) and ".".join(parts[:end]) in values:
            return [".".join(parts[:end]), *parts[end:]]
    return [path]


def _below(values: Any, part: str, key: str) -> Any:
    if isinstance(values, dict):
        return values.setdefault(part, {})
    if isinstance(values, list) and part.isdigit() and int(part) < len(values):
        return values[int(part)]
    raise InputError(f"command line: {key}: there is nothing below {part!r}")


def _put(values: Any, part: str, value: Any, key: str) -> None:
    if isinstance(values, dict):
        values[part] = value
    elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
        values[int(part)] = value
    else:
        raise InputError(f"command line: {key}: {part!r} can not be set, what holds it is {values!r}")
