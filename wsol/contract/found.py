"""The plugins that are tested, those of other packages too."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from wsol import plugins
from wsol.errors import InputError

EVERY = [(kind, name) for kind in plugins.FOLDERS for name in plugins.names(kind)]
"""Kind and name of all there are, those that cannot be imported too."""

SMALL_SETTINGS = {"timm": {"model": "convnext_atto"}, "deit": {"size": "micro"}}
"""Backbone -> settings with which it is small."""


def usable(kind: str) -> list[str]:
    """The names of those that can be imported: the others fail a test of their own, and stop no other one."""
    found = []
    for name in plugins.names(kind):
        with suppress(InputError):
            plugins.load(kind, name)
            found.append(name)
    return found


NORMALIZERS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in usable("normalizer")),
    ("pas", {"quantised": True}),
]
"""Name and settings."""


def built(kind: str, name: str, *arguments: Any, **settings: Any) -> Any:
    """A plugin with its defaults and these settings.

    Args:
        kind: of plugin, such as `extractor`.
        name: of it.
        arguments: further ones of its `build`.
        settings: of its `Config`.
    """
    return plugins.build(kind, plugins.load(kind, name).Config(name=name, **settings), *arguments)


def backbone(name: str, **settings: Any) -> Any:
    """A backbone in evaluation mode with random weights, small where it comes in several sizes."""
    return built("backbone", name, **{"weights": "none", **SMALL_SETTINGS.get(name, {}), **settings}).eval()


def file_of(kind: str, name: str) -> str:
    """The file or the package that a plugin is from, for messages."""
    origin = plugins.origin(kind, name)
    return f"wsol/{plugins.FOLDERS[kind]}/{name}.py" if origin is None else f"{origin.package}, {origin.module}"
