"""Checks a cluster file offline: its syntax, placeholders left to fill in, and secrets; then what is specific to Ray's
files or to Kubernetes manifests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster.check_kubernetes import check_manifests
from orchestrator.cluster.check_ray import check_ray_file
from orchestrator.cluster.check_secrets import secrets_finding
from orchestrator.cluster.findings import Finding
from orchestrator.experiment.paths import Values
from orchestrator.experiment.yaml_nodes import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES
from orchestrator.formats import one_line
from orchestrator.shipped import shipped
from wsol.errors import InputError, first_line


def check_file(path: Path) -> list[Finding]:
    """Check a file for `ray up`, or Kubernetes manifests of KubeRay, offline.

    Raises:
        InputError: the file cannot be read, or is neither.
    """
    text = _read(path)
    documents = _documents(text, path)
    manifests = _are_manifests(documents)
    if not manifests and len(documents) > 1:
        raise InputError(f"{path}: holds {len(documents)} documents; `ray up` reads files of one, without `---` inside")
    findings = check_manifests(documents) if manifests else check_ray_file(documents[0])
    return [*findings, secrets_finding(text, documents), _placeholders(documents)]


def is_of_kubernetes(path: Path) -> bool:
    """Whether a file holds manifests. Raises InputError if it cannot be read."""
    return _are_manifests(_documents(_read(path), path))


def _are_manifests(documents: list[Values]) -> bool:
    return any("apiVersion" in document for document in documents)


def _read(path: Path) -> str:
    try:
        with shipped(path).open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; shipped files are in clusters/; for a running cluster give `auto` or host:port"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{path}: has more than {MAX_CHARACTERS:,} characters, and is not read")
    return text


def _documents(text: str, path: Path) -> list[Values]:
    """The mappings of a file."""
    try:
        for node in yaml.compose_all(text, yaml.SafeLoader):
            if node is not None:
                _require_bounded(node, path)
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: YAML syntax: {one_line(str(error.problem or error.context))}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: YAML syntax: {one_line(first_line(error))}") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise InputError(f"{path}: holds no mapping of keys to values")
    return documents


def _require_bounded(node: yaml.Node, path: Path) -> None:
    """Raises InputError if a document with its aliases written out is too large or too deep, or contains itself. (Ray
    and Kubernetes read YAML 1.1, so the reader of search spaces does not serve here.)"""
    known: dict[int, tuple[int, int] | None] = {}

    def size_and_depth(node: yaml.Node) -> tuple[int, int]:
        if id(node) not in known:
            known[id(node)] = None
            below = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [part for entry in below for part in (entry if isinstance(entry, tuple) else (entry,))]
            inner = [size_and_depth(part) for part in parts]
            known[id(node)] = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        found, place = known[id(node)], f"{path}:{node.start_mark.line + 1}"
        if found is None:
            raise InputError(f"{place}: the value contains an alias of itself")
        size, depth = found
        if size > MAX_NODES:
            raise InputError(f"{place}: more than {MAX_NODES:,} values, where each alias counts as what it stands for")
        if depth > MAX_DEPTH:
            raise InputError(
                f"{place}: nested deeper than {MAX_DEPTH} levels, where each alias counts as what it stands for"
            )
        return size, depth

    size_and_depth(node)


def _placeholders(documents: list[Values]) -> Finding:
    places = [place for document in documents for place in _replaceable(document, "")]
    if places:
        return Finding("to fill in", "wrong", f"put your own in place of REPLACE at {', '.join(places)}")
    return Finding("to fill in", "ok", "nothing")


def _replaceable(value: Any, place: str) -> Iterator[str]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in below:
        yield from _replaceable(inner, f"{place}.{key}".lstrip("."))
    if isinstance(value, str) and "REPLACE" in value:
        yield place
