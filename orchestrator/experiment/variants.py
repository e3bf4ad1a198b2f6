"""The variants of a parsed search-space file: named sets of changes, of which one or several are merged over the
file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import Any

from orchestrator.experiment.overrides import SECTIONS
from orchestrator.experiment.paths import Values
from orchestrator.experiment.yaml_nodes import KeyPath, dotted
from orchestrator.experiment.yaml_reader import COMMAND_LINE, Document, merged
from wsol.errors import InputError
from wsol.plugins import did_you_mean

VARIANTS = "variants"


def variant_names(document: Document) -> list[str]:
    """The variants of a file.

    Raises:
        InputError: they are not mappings of sections, or a change that applies together with another variant names
            none.
    """
    names = _named_changes(document, (VARIANTS,))
    for name in names:
        for other in _named_changes(document, (VARIANTS, name, VARIANTS)):
            if other not in names or other == name:
                place = (VARIANTS, name, VARIANTS, other)
                raise InputError(
                    f"{document.place(place)}: {dotted(place)}: the file has no other variant {other}"
                    f"{did_you_mean(other, names)}"
                )
    return names


def variant_choices(document: Document) -> list[list[str]]:
    """The values of `variant=` that the file provides for: each variant, and pairs that have changes together."""
    names = variant_names(document)
    pairs = [(other, name) for name in names for other in document.values[VARIANTS][name].get(VARIANTS, {})]
    return [*([name] for name in names), *(sorted(pair, key=names.index) for pair in pairs)]


def with_variants(document: Document, chosen: Sequence[str]) -> Document:
    """The document with the chosen variants merged over it, in their order in the file, and then the changes that one
    of them makes only together with another; the section of variants is removed.

    Raises:
        InputError: the file has no such variant, or two of them set the same value differently.
    """
    names = variant_names(document)
    for name in chosen:
        if name not in names:
            there = f"there are {', '.join(names)}" if names else "it has none"
            raise InputError(
                f"{COMMAND_LINE}: variant={name}: {document.file} has no such variant{did_you_mean(name, names)};"
                f" {there}"
            )
    parts = {name: document.part((VARIANTS, name)) for name in names if name in chosen}
    _require_no_conflict({name: _without_variants(part).values for name, part in parts.items()})
    pairs = [part.part((VARIANTS, other)) for part in parts.values() for other in parts if _changes(part, other)]
    return reduce(merged, [*map(_without_variants, (document, *parts.values())), *pairs])


def chosen_variants(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The variants that `variant=NAME` or `variant=NAME,NAME` chooses (the last one counts), and the other
    overrides."""
    others = [override for override in overrides if not override.startswith("variant=")]
    chosen = [override.removeprefix("variant=") for override in overrides if override not in others]
    return (chosen[-1].split(",") if chosen else []), others


def _named_changes(document: Document, path: KeyPath) -> list[str]:
    """The keys of the mapping of variants at a path, whose values must be mappings; empty if there is none."""
    variants: Any = document.values
    for key in path:
        variants = variants.get(key, {})
    if not isinstance(variants, dict):
        raise InputError(f"{document.place(path)}: {dotted(path)}: should be a mapping of names to what they change")
    for place in [(*path, name) for name, changes in variants.items() if not isinstance(changes, dict)]:
        raise InputError(f"{document.place(place)}: {dotted(place)}: should be a mapping with {', '.join(SECTIONS)}")
    return list(variants)


def _without_variants(document: Document) -> Document:
    values = {key: value for key, value in document.values.items() if key != VARIANTS}
    return Document(document.file, values, document.places)


def _changes(part: Document, other: str) -> bool:
    """Whether a variant has further changes together with another one."""
    return other in part.values.get(VARIANTS, {})


def _require_no_conflict(variants: dict[str, Values]) -> None:
    """Raises InputError if two variants set the same value differently."""
    for (name, values), (other, others) in combinations(variants.items(), 2):
        if (path := _conflict(values, others)) is not None:
            raise InputError(
                f"{COMMAND_LINE}: variant={name},{other}: both set {dotted(path)}, and differ; choose one of them"
            )


def _conflict(values: Any, others: Any) -> KeyPath | None:
    """The first path at which two nested mappings both have a value, and differ."""
    if not (isinstance(values, dict) and isinstance(others, dict)):
        return None if values == others else ()
    found = ((key, _conflict(values[key], others[key])) for key in values if key in others)
    return next(((key, *path) for key, path in found if path is not None), None)
