"""The shipped cluster files, changed for a test, and what `cluster check` says of the result."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster.check_file import check_file
from tests.support.paths import ROOT

RAY_FILES = sorted((ROOT / "clusters").glob("*.yaml"))
MANIFESTS = sorted((ROOT / "clusters" / "kubernetes").glob("*.yaml"))

ODD = (None, 3, "x", [], {}, [None], True)
"""Stands in place of anything."""

Edit = Callable[[dict[str, Any]], object]
"""Changes a parsed cluster file, or the cluster of a manifest, in place."""


def read(name: str) -> dict[str, Any]:
    """A shipped file for `ray up`, parsed."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "clusters" / f"{name}.yaml").read_text())
    return config


def read_manifests(path: Path) -> list[dict[str, Any]]:
    """The documents of a shipped manifest, the one of KubeRay first, their placeholders filled in."""
    return list(yaml.safe_load_all(filled_in(path.read_text())))


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The cluster of a RayCluster or a RayJob."""
    spec: dict[str, Any] = manifest["spec"]
    return spec.get("rayClusterSpec", spec)


def filled_in(text: str) -> str:
    """A file with something in place of every REPLACE."""
    return text.replace("REPLACE", "mine")


def kind(path: Path) -> str | None:
    """What Ray calls the provider of the machines; None of a manifest for Kubernetes."""
    provider: dict[str, str] = (yaml.safe_load(path.read_text()) if path in RAY_FILES else {}).get("provider", {})
    return provider.get("type")


def states(path: Path) -> dict[str, str]:
    """Subject -> state of a file; of several findings on one subject, the last."""
    return {finding.subject: finding.state for finding in check_file(path)}


def wrong_in(path: Path, *documents: dict[str, Any]) -> list[str]:
    """`subject: detail` of everything that is wrong with documents, which are written to `path`."""
    path.write_text(yaml.safe_dump_all(copy.deepcopy(list(documents))))
    return [f"{finding.subject}: {finding.detail}" for finding in check_file(path) if finding.state == "wrong"]


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a file stands."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] * bool(place) + [deep for key, inner in below for deep in places(inner, (*place, key))]


def with_odd_values(content: Any, depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Copies of a file in which one value, at such a depth or below, is an odd one; and which one, in words."""
    for place in (found for found in places(content) if len(found) >= depth):
        for odd in ODD:
            changed = copy.deepcopy(content)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = odd
            yield f"{place} = {odd!r}", changed
