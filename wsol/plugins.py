"""A name in YAML is a file name: `method: {name: has}` is `wsol/methods/has.py`. No registry, import on demand.

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

from wsol import schema
from wsol.errors import InputError

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


@cache
def names(kind: str) -> list[str]:
    """The plugins of a kind (a key of `FOLDERS`), sorted."""
    return sorted(path.stem for path in (ROOT / FOLDERS[kind]).glob("*.py") if not path.stem.startswith("_"))


def load(kind: str, name: str) -> ModuleType:
    """Import a plugin.

    Raises:
        ValueError: no plugin of this kind has the name; the message lists the names there are.
        InputError: its file cannot be imported, or does not export what it should; the message says where and what to
            do.
    """
    if name not in names(kind):
        raise ValueError(
            f"unknown {kind} {name!r}{did_you_mean(name, names(kind))}; there are {', '.join(names(kind))}"
        )
    path = ROOT / FOLDERS[kind] / f"{name}.py"
    try:
        plugin = importlib.import_module(f"wsol.{FOLDERS[kind]}.{name}")
    except Exception as error:
        raise InputError(
            f"{_place(path, error)}: {type(error).__name__}: {getattr(error, 'msg', error)}; mend the file"
        ) from error
    if wrong := _wrong(kind, name, plugin):
        raise InputError(f"{_shown(path)}: {'; '.join(wrong)}; see CONTRIBUTING.md")
    return plugin


def build(kind: str, config: schema.PluginConfig, *arguments: Any) -> Any:
    """Build the object of a plugin's configuration, for `wsol/build.py` and for plugins that hold another one."""
    return load(kind, config.name).build(config, *arguments)


def _shown(path: Path) -> str:
    """`wsol/methods/has.py`."""
    return "/".join(path.parts[-3:])


def _place(path: Path, error: Exception) -> str:
    """The file, and the line at which its import failed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines = [error.lineno]
    return f"{_shown(path)}:{lines[-1]}" if lines else _shown(path)


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
            else [f'the name of its Config is not the name of the file: write `name: Literal["{name}"] = "{name}"`']
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
