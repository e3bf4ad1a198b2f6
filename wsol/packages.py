"""Plugins of other packages, found by entry point: the group is `wsol.` and the folder of the kind, such as
`wsol.methods`, the name is the one in YAML, the value the module.

    [project.entry-points."wsol.methods"]
    mine = "my_package.my_method"

Nothing is imported to find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.metadata import Distribution, EntryPoint

OURS = "wsol-search"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plugin of another package is from.

    Attributes:
        plugin: its kind and name, such as `method mine`.
        module: that it is.
        package: that brings it, as it is installed.
        version: of the package.
    """

    plugin: str
    module: str
    package: str
    version: str

    def __str__(self) -> str:
        """`method mine of my-package 1.0`."""
        return f"{self.plugin} of {self.package} {self.version}"

    @property
    def requirement(self) -> str:
        """What `pip install` takes: `my-package==1.0`."""
        return f"{self.package}=={self.version}"


@cache
def entries() -> list[EntryPoint]:
    """The entry points of all groups that begin with `wsol.`; of a package that is installed twice, those of the one
    that Python imports."""
    names = {package.name for package in metadata.distributions() if _ours(package)}
    return [entry for name in sorted(names) for entry in _ours(metadata.distribution(name))]


def _ours(package: Distribution) -> list[EntryPoint]:
    return [entry for entry in package.entry_points if entry.group.startswith("wsol.")]


@cache
def brought(kind: str, folder: str) -> Mapping[str, tuple[Origin, ...]]:
    """Name -> where the plugins of a kind with this name are from: more than one where packages disagree.

    Args:
        kind: of plugin, such as `method`.
        folder: of the kind, such as `methods`.
    """
    found: dict[str, tuple[Origin, ...]] = {}
    for entry in entries():
        if entry.group != f"wsol.{folder}":
            continue
        found[entry.name] = (*found.get(entry.name, ()), _origin(kind, entry))
    return found


def _origin(kind: str, entry: EntryPoint) -> Origin:
    package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown package", "")
    return Origin(f"{kind} {entry.name}", entry.value, package, version)


@cache
def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
