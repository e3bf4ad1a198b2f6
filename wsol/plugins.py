"""A name in YAML is a file name: `method: {name: has}` is `wsol/methods/has.py`. No registry, import on demand.

Every plugin file exports `Config`, a `PluginConfig`, and `build`. What `build` takes is said in `wsol/build.py`.
"""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsol.config import PluginConfig

FOLDERS = {
    "method": "methods",
    "backbone": "backbones",
    "dataset": "datasets",
    "extractor": "extractors",
    "normalizer": "normalizers",
    "metric": "metrics",
}


@cache
def names(kind: str) -> list[str]:
    """The plugins of a kind (a key of `FOLDERS`), sorted."""
    folder = Path(__file__).parent / FOLDERS[kind]
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def load(kind: str, name: str) -> ModuleType:
    """Import a plugin.

    Raises:
        ValueError: no plugin of this kind has the name; the message lists the names there are.
    """
    if name not in names(kind):
        raise ValueError(f"unknown {kind} {name!r}{did_you_mean(name, names(kind))}; there are {', '.join(names(kind))}")
    return importlib.import_module(f"wsol.{FOLDERS[kind]}.{name}")


def build(kind: str, config: PluginConfig, *arguments: Any) -> Any:
    """The object of a plugin's configuration, for `wsol/build.py` and for plugins that hold another one."""
    return load(kind, config.name).build(config, *arguments)


def did_you_mean(word: str, words: list[str]) -> str:
    """`, did you mean 'x'?` if a word is close, else nothing."""
    close = difflib.get_close_matches(word, words, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
