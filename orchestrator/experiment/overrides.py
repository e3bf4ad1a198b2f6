"""Puts the changes `KEY=VALUE` of the command line into a parsed search-space file, before it is checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.experiment.paths import Values
from orchestrator.experiment.yaml_nodes import MAX_DEPTH, KeyPath
from orchestrator.experiment.yaml_reader import COMMAND_LINE, Document, parse_scalar
from wsol import plugins
from wsol.errors import InputError

SECTIONS = ("trial", "search", "points", "post_hoc", "study", "resources")

KINDS = {"data": "dataset", "metrics": "metric", "test_metrics": "metric", "base": "method"}
"""Keys that hold a plugin but are not named after its kind."""


def apply_overrides(document: Document, overrides: list[str], *, ignores_search: bool) -> list[str]:
    """Put every `KEY=VALUE` into the document. Whole sections come first, then changes that choose a plugin, so that
    all others apply to that plugin.

    Args:
        document: the parsed file, which is changed.
        overrides: the words `KEY=VALUE` of the command line.
        ignores_search: nothing will be searched, so searched settings of a plugin that was replaced are left out
            instead of refused.

    Returns:
        Remarks for the user, one line each.

    Raises:
        InputError: a key or value cannot be used, or the file searches settings of a plugin that was replaced.
    """
    return [note for override in sorted(overrides, key=_order) for note in _apply(document, override, ignores_search)]


def plugin_kind(key: str) -> str | None:
    """The kind of plugin that stands under a key of a configuration, None for other keys."""
    kind = "metric" if key.isdigit() else KINDS.get(key, key)
    return kind if kind in plugins.FOLDERS else None


def shared_fields(kind: str, name: str, other: str) -> set[str]:
    """The settings that two plugins share because all plugins of the kind have them, such as a backbone's stride;
    without `name`.

    Raises:
        ValueError: there is no such plugin.
    """
    first, second = (plugins.load(kind, one).Config for one in (name, other))
    return set(next(base for base in first.__mro__ if issubclass(second, base)).model_fields) - {"name"}


def _order(override: str) -> tuple[int, int]:
    key = override.partition("=")[0]
    if key in SECTIONS:
        return 0, 0
    place = _plugin_place(key)
    return (2, 0) if place is None else (1, place.count("."))


def _plugin_place(key: str) -> str | None:
    """The place in `trial` of the plugin that a key chooses: `method` for `method=NAME` and `method.name=NAME`; None
    for other keys."""
    place = key.removeprefix("trial.").removesuffix(".name")
    return place if place.partition(".")[0] not in SECTIONS and plugin_kind(place.rpartition(".")[2]) else None


def _apply(document: Document, override: str, ignores_search: bool) -> list[str]:
    """Put one override into the document; returns notes if that changes what is searched, or removes something."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"{COMMAND_LINE}: {override!r}: expected KEY=VALUE, such as optim.lr=1e-4")
    if key.count(".") >= MAX_DEPTH:
        raise InputError(f"{COMMAND_LINE}: {key[:50]!r}: nested deeper than {MAX_DEPTH} levels")
    place, value = _plugin_place(key), parse_scalar(text)
    if place is not None and isinstance(value.get("name") if isinstance(value, dict) else value, str):
        return _choose(document, place, value, override, ignores_search)
    if key in SECTIONS:
        return _replaced(key, _put_at(document, [key], value, key), value)
    section, _, rest = key.partition(".")
    if section not in SECTIONS:
        section, rest = "trial", key
    path = _searched_path(document, section, rest) if section in ("search", "post_hoc") else rest.split(".")
    former = _put_at(document, [section, *path], value, key)
    return [*(_fixed(document, rest, text) if section == "trial" else []), *_replaced(key, former, value)]


def _choose(document: Document, place: str, value: str | Values, override: str, ignores_search: bool) -> list[str]:
    """Put another plugin into `trial`, by its name or with its settings, and remove everything that the file says about
    settings of the former one."""
    own, (key, _, text) = _plugin_at(document, place), override.partition("=")
    name = value if isinstance(value, str) else value["name"]
    former = own["name"] if isinstance(own.get("name"), str) else name
    shared = None if former == name else _shared(place, former, name)
    kept = {field: setting for field, setting in own.items() if shared is None or field in shared}
    _put_at(document, ["trial", *place.split(".")], {**kept, "name": name} if isinstance(value, str) else value, key)
    stale = [] if shared is None else list(_about(document, place, shared))
    if not stale:
        lost = _replaced(key, own, value) if former == name and isinstance(value, dict) else []
        return [*_fixed(document, f"{place}.name", text), *lost]
    what = ", ".join(".".join(map(str, path)) for path in stale)
    if not ignores_search:
        remedy = f"search a file of {name}, or `train` this one, which leaves that out"
        raise InputError(f"{COMMAND_LINE}: {override}: {document.file} searches {former}: {what}; {remedy}")
    for section, entry in reversed(stale):
        del document.values[section][entry]
    return [f"{place} is {name}; left out of {document.file}: {what}"]


def _plugin_at(document: Document, place: str) -> Values:
    """The mapping at a place in `trial`; empty if there is none."""
    values = document.values.get("trial")
    for part in place.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def _shared(place: str, name: str, other: str) -> set[str] | None:
    """See `shared_fields`; None if there is no such plugin, which the check of the configuration reports."""
    try:
        return shared_fields(str(plugin_kind(place.rpartition(".")[2])), name, other)
    except ValueError:
        return None


def _about(document: Document, place: str, shared: set[str]) -> Iterator[tuple[str, Any]]:
    """Section and key of everything outside of `trial` that concerns settings of the plugin at a place, whichever
    plugin that is."""
    inside, name = f"{place}.", f"{place}.name"

    def own(path: str) -> bool:
        return path.startswith(inside) and path != name and path.removeprefix(inside).partition(".")[0] not in shared

    for section in ("search", "post_hoc"):
        entries = document.values.get(section)
        for path, entry in entries.items() if isinstance(entries, dict) else ():
            conditions = entry.get("when") if isinstance(entry, dict) else None
            if own(path) and name not in (conditions or {}):
                yield section, path
    points = document.values.get("points")
    for index, point in enumerate(points if isinstance(points, list) else ()):
        values = point.get("values") if isinstance(point, dict) else None
        if isinstance(values, dict) and name not in values and any(map(own, values)):
            yield "points", index


def _fixed(document: Document, path: str, text: str) -> list[str]:
    """Stop searching a value that was given; returns a note if it was searched."""
    searched = document.values.get("search")
    if isinstance(searched, dict) and searched.pop(path, None) is not None:
        return [f"{path} is fixed at {text} and no longer searched"]
    return []


def _replaced(key: str, former: Any, value: Any) -> list[str]:
    """A note if a mapping or list is replaced that holds keys or items which the new value lacks."""
    gone = [name for name in _names(former) if name not in _names(value)]
    return [f"{key} is replaced; it no longer has {', '.join(gone)}"] if gone else []


def _names(values: Any) -> list[str]:
    """The keys of a mapping; for a list of points or plugins, the names of its items."""
    if isinstance(values, dict):
        return list(values)
    entries = values if isinstance(values, list) else []
    return list(dict.fromkeys(str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry))


def _put_at(document: Document, path: list[str], value: Any, key: str) -> Any:
    """Put a value at a path, creating every level that is missing; returns the former value."""
    values: Any = document.values
    place: KeyPath = ()
    for part in path[:-1]:
        if isinstance(values, dict) and values.get(part) is None:
            values[part], document.places[(*place, part)] = {}, COMMAND_LINE
        here = _position(values, part, key)
        values, place = values[here], (*place, here)
    last = _position(values, path[-1], key)
    former = values[last] if isinstance(values, list) else values.get(last)
    values[last], place = value, (*place, last)
    for inside in [known for known in document.places if known[: len(place)] == place]:
        del document.places[inside]
    document.places[place] = COMMAND_LINE
    return former


def _position(values: Any, part: str, key: str) -> Any:
    """The key or list position that a part of a path names, in the mapping or list that holds it."""
    if isinstance(values, dict):
        return part
    if isinstance(values, list) and part in map(str, range(len(values))):
        return int(part)
    raise InputError(f"{COMMAND_LINE}: {key}: {part!r} cannot be set inside of {values!r}")


def _searched_path(document: Document, section: str, path: str) -> list[str]:
    """Keys of `search` and `post_hoc` contain dots themselves: the longest existing one counts as one key."""
    parts, there = path.split("."), document.values.get(section)
    for end in range(len(parts), 0, -1):
        if isinstance(there, dict) and ".".join(parts[:end]) in there:
            return [".".join(parts[:end]), *parts[end:]]
    return [path]
