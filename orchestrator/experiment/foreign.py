"""Which plugins of an experiment are from other packages: what must be installed wherever it runs or is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.experiment.overrides import plugin_kind
from wsol import plugins
from wsol.errors import InputError
from wsol.packages import Origin, version_of

NEEDS = "# Needs plugins of other packages: pip install "
HEAD_LINES = 3
"""Of a file that we wrote: what it needs stands in one of them."""


def foreign_plugins(settings: BaseModel) -> list[Origin]:
    """The plugins of other packages that an experiment or one training uses, those that it searches or chooses among
    too, each once, in the order of their names.

    Raises:
        InputError: a name is not clear, see `wsol.plugins.origin`.
    """
    named = sorted(set(_named("", settings.model_dump(mode="json"))))
    return [origin for kind, name in named if (origin := plugins.origin(kind, name)) is not None]


def packages_of(*settings: BaseModel) -> list[str]:
    """The packages that `foreign_plugins` are from, sorted; errors as there."""
    return sorted({origin.package for one in settings for origin in foreign_plugins(one)})


def requirements(settings: BaseModel) -> dict[str, str]:
    """`foreign_plugins` for a record: `method mine` -> `my-package==1.0`; errors as there."""
    return {origin.plugin: origin.requirement for origin in foreign_plugins(settings)}


def to_install(settings: BaseModel) -> str:
    """The line at the head of a file with these settings: what to install before it can be read; empty where nothing
    is. Errors as of `foreign_plugins`."""
    needed = sorted(set(requirements(settings).values()))
    return f"{NEEDS}{' '.join(needed)}\n" if needed else ""


def missing_for(file: str) -> str:
    """What is still to be installed of what a file says at its head that it needs: a line for a message; empty where
    nothing is."""
    with suppress(OSError, UnicodeDecodeError):
        head = Path(file).read_text(encoding="utf-8").splitlines()[:HEAD_LINES]
        needed = [word for line in head if line.startswith(NEEDS) for word in line.removeprefix(NEEDS).split()]
        missing = [word for word in needed if version_of(word.partition("==")[0]) is None]
        return f"{file}: needs plugins of other packages: pip install {' '.join(missing)}" if missing else ""
    return ""


def require_installed(recorded: Mapping[str, str]) -> None:
    """Raises InputError where a plugin of another package, recorded by `requirements`, is not found here."""
    for plugin, requirement in recorded.items():
        kind, _, name = plugin.partition(" ")
        if name in plugins.names(kind):
            continue
        package, _, version = requirement.partition("==")
        here = version_of(package)
        state = f"{here} is installed here, which has no such plugin" if here else "which is not installed here"
        raise InputError(f"{plugin} is of the package {package} {version}, {state}: pip install {requirement}")


def _named(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of every plugin that stands under a dotted key: as a mapping with a name, or as values of a key
    that ends in `.name`."""
    owner, _, last = key.removesuffix(".choices").removesuffix(".fixed").rpartition(".")
    if isinstance(value, dict):
        kind = plugin_kind(last)
        if kind and isinstance(value.get("name"), str):
            yield kind, value["name"]
        for name, inside in value.items():
            yield from _named(f"{key}.{name}", inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _named(key, inside)
    elif isinstance(value, str) and last == "name" and (kind := plugin_kind(owner.rpartition(".")[2])):
        yield kind, value
