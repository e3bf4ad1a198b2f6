"""What is put into a parsed search-space file before it is checked: a variant of its own, and `KEY=VALUE` of the command line."""

from __future__ import annotations

from typing import Any

from orchestrator.yaml_reader import Document, KeyPath, merged, parse_scalar
from wsol.errors import InputError
from wsol.plugins import did_you_mean

SECTIONS = ("trial", "search", "points", "post_hoc", "study", "resources")
VARIANTS = "variants"
COMMAND_LINE = "command line"


def variant_names(document: Document) -> list[str]:
    """The variants of a file.

    Raises:
        InputError: they are not mappings of sections.
    """
    variants = document.values.get(VARIANTS, {})
    if not isinstance(variants, dict):
        raise InputError(f"{document.place((VARIANTS,))}: {VARIANTS}: should be a mapping of names to what they change")
    for name, changes in variants.items():
        if not isinstance(changes, dict):
            raise InputError(f"{document.place((VARIANTS, name))}: {VARIANTS}.{name}: should be a mapping with {', '.join(SECTIONS)}")
    return list(variants)


def with_variant(document: Document, name: str | None) -> Document:
    """The document as it is, or with a variant merged over it; the variants themselves are taken out.

    Raises:
        InputError: the file has no such variant.
    """
    names = variant_names(document)
    own = Document(document.file, {key: value for key, value in document.values.items() if key != VARIANTS}, document.places)
    if name is None:
        return own
    if name not in names:
        there = f"there are {', '.join(names)}" if names else "it has none"
        raise InputError(f"{COMMAND_LINE}: variant={name}: {document.file} has no such variant{did_you_mean(name, names)}; {there}")
    return merged(own, document.part((VARIANTS, name)))


def chosen_variant(overrides: list[str]) -> tuple[str | None, list[str]]:
    """The variant that `variant=NAME` chooses, the last one of several, and the other overrides."""
    others = [override for override in overrides if not override.startswith("variant=")]
    chosen = [override.removeprefix("variant=") for override in overrides if override not in others]
    return (chosen[-1] if chosen else None), others


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
            document.places[place] = COMMAND_LINE
        values = _below(values, part, key)
    _put(values, path[-1], parse_scalar(text), key)
    document.places[(*place, path[-1])] = COMMAND_LINE
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
