"""A name in YAML is a file name: `method: {name: has}` is `wsol/methods/has.py`; or that of an entry point of another
package, see `packages.py`. No registry, import on demand.

Every plugin file exports `Config`, a `PluginConfig`, and `build`. `wsol/build.py` says what `build` takes; `load`
refuses a file that does not export both.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from wsol import packages, schema
from wsol.errors import InputError
from wsol.packages import Origin

FOLDERS = {
    "method": "methods",
    "backbone": "backbones",
    "dataset": "datasets",
    "extractor": "extractors",
    "normalizer": "normalizers",
    "metric": "metrics",
}

ROOT = Path(__file__).parent

CONFIGS = {"backbone": "BackboneConfig", "dataset": "DatasetConfig"}
"""Kind -> the class of `wsol/schema.py` that its `Config` extends; those of the other kinds extend `PluginConfig`."""

FUNCTIONS = {
    "method": {"build": 2},
    "metric": {"build": 2},
    "dataset": {"build": 1, "prepare": 3},
}
"""Kind -> the functions that its files export, with their numbers of arguments; for the other kinds, `build` takes
one."""


SECTIONS = ("Idea", "Paper", "Symbols", "Kept from the released code", "Not kept")
"""Paragraphs that the docstring of every method and extractor of a paper has."""


def built_in(kind: str) -> list[str]:
    """The plugins of a kind (a key of `FOLDERS`) that are part of this program, sorted."""
    return sorted(path.stem for path in (ROOT / FOLDERS[kind]).glob("*.py") if not path.stem.startswith("_"))


@cache
def names(kind: str) -> list[str]:
    """All plugins of a kind, those of other packages too, sorted."""
    return sorted({*built_in(kind), *packages.brought(kind, FOLDERS[kind])})


def origin(kind: str, name: str) -> Origin | None:
    """Where a plugin of another package is from; None for a built-in one and for an unknown name.

    Raises:
        InputError: the name is that of a built-in one as well, or two packages bring it; the message names both.
    """
    origins = packages.brought(kind, FOLDERS[kind]).get(name, ())
    others = [f"{one.package} {one.version}" for one in origins]
    if origins and name in built_in(kind):
        raise InputError(
            f"{kind} {name!r}: {others[0]} brings one of this name, which {packages.OURS} has itself; rename it there,"
            f" or uninstall {origins[0].package}"
        )
    if len(origins) > 1:
        raise InputError(
            f"{kind} {name!r}: {' and '.join(sorted(others))} both bring one of this name; uninstall one of them"
        )
    return origins[0] if origins else None


def bringing() -> list[str]:
    """The packages installed here that bring plugins, sorted."""
    origins = (origins for kind, folder in FOLDERS.items() for origins in packages.brought(kind, folder).values())
    return sorted({one.package for several in origins for one in several})


@cache  # a file of settings asks thousands of times
def load(kind: str, name: str) -> ModuleType:
    """Import a plugin.

    Raises:
        ValueError: no plugin of this kind has the name; the message lists the names there are.
        InputError: its name is not clear, see `origin`; its file cannot be imported, or does not export what it should;
            the message says where and what to do.
    """
    if name not in names(kind):
        hint = did_you_mean(name, names(kind)) or " (one of another package is found where that is installed)"
        raise ValueError(f"unknown {kind} {name!r}{hint}; there are {', '.join(names(kind))}")
    foreign = origin(kind, name)
    module = foreign.module if foreign else f"wsol.{FOLDERS[kind]}.{name}"
    try:
        plugin = importlib.import_module(module)
    except Exception as error:
        place, remedy = _place(kind, name, foreign)
        raise InputError(
            f"{place}{_line(module, error)}: {type(error).__name__}: {getattr(error, 'msg', error)}; {remedy}"
        ) from error
    if wrong := _wrong(kind, name, plugin):
        raise InputError(f"{_place(kind, name, foreign)[0]}: {'; '.join(wrong)}; see CONTRIBUTING.md")
    return plugin


def _place(kind: str, name: str, foreign: Origin | None) -> tuple[str, str]:
    """Where a plugin is, and what to do about one that is broken."""
    if foreign:
        return f"{foreign}, {foreign.module}", f"correct it there, or uninstall {foreign.package}"
    return "/".join((ROOT / FOLDERS[kind] / f"{name}.py").parts[-3:]), "correct the file"


def build(kind: str, config: schema.PluginConfig, *arguments: Any) -> Any:
    """Build the object of a plugin's configuration, for `wsol/build.py` and for plugins that hold another one."""
    return load(kind, config.name).build(config, *arguments)


def _line(module: str, error: Exception) -> str:
    """`:3`, the line of a module's file at which its import failed; empty if it is not known."""
    end = f"{module.replace('.', '/')}.py"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(end)]
    if isinstance(error, SyntaxError) and (error.filename or "").endswith(end):
        lines = [error.lineno]
    return f":{lines[-1]}" if lines else ""


def _wrong(kind: str, name: str, plugin: ModuleType) -> list[str]:
    """The exports that a plugin lacks, or that are wrong, in words."""
    found: Any = getattr(plugin, "Config", None)
    base = CONFIGS.get(kind, "PluginConfig")
    is_config = isinstance(found, type) and issubclass(found, getattr(schema, base))
    if not is_config:
        wrong = [f"there is no `class Config({base})`, whose fields are the settings of this {kind}"]
    else:
        named = found.model_fields["name"].default
        wrong = (
            []
            if named == name
            else [f'the name of its Config is not {name!r}: write `name: Literal["{name}"] = "{name}"`']
        )
    for function, count in FUNCTIONS.get(kind, {"build": 1}).items():
        if not _takes(getattr(plugin, function, None), count):
            wrong.append(f"there is no function `{function}` that takes {count} argument{'s' if count > 1 else ''}")
    return wrong


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def did_you_mean(word: str, words: list[str]) -> str:
    """`, did you mean 'x'?` if a word is close, else nothing."""
    close = difflib.get_close_matches(word, words, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
