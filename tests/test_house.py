"""Imports go down only: launch -> orchestrator -> wsol, plugins know no siblings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from wsol.plugins import FOLDERS

WSOL = sorted((ROOT / "wsol").rglob("*.py"))
ORCHESTRATOR = sorted((ROOT / "orchestrator").rglob("*.py"))
RAY_FILES = {
    "tuning.py",
    "trial.py",
    "loggers.py",
    "cluster.py",
    "cluster_check.py",
    "cluster_file.py",
    "submit.py",
    "ground.py",
    "network.py",
}


def imported(path: Path) -> set[str]:
    """Full names of everything a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", WSOL, ids=lambda path: str(path.relative_to(ROOT)))
def test_wsol_knows_neither_ray_nor_the_orchestrator(path: Path) -> None:
    assert not [name for name in imported(path) if name.split(".")[0] in ("ray", "optuna", "orchestrator")]


@pytest.mark.parametrize("path", ORCHESTRATOR, ids=lambda path: path.name)
def test_ray_is_called_in_few_files(path: Path) -> None:
    if path.name not in RAY_FILES:
        assert not [name for name in imported(path) if name.split(".")[0] == "ray"]


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_plugins_know_no_siblings(folder: str) -> None:
    for path in (ROOT / "wsol" / folder).glob("*.py"):
        siblings = [
            name
            for name in imported(path)
            if name.startswith(f"wsol.{folder}.") and not name.split(".")[2].startswith("_")
        ]
        assert not siblings, f"{path} imports {siblings}"


def test_ops_know_nothing_above_them() -> None:
    for path in (ROOT / "wsol" / "ops").glob("*.py"):
        assert not [name for name in imported(path) if name.startswith("wsol.") and not name.startswith("wsol.ops")], (
            path
        )


@pytest.mark.parametrize("path", sorted((ROOT / "wsol" / "ops").glob("*.py")), ids=lambda path: path.name)
def test_compiled_code_uses_its_own_file_only(path: Path) -> None:
    """The compiled code on disk is not remade when another file changes."""
    foreign = {name.rpartition(".")[2] for name in imported(path) if name.startswith("wsol.")} | {
        alias.asname
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef) and any(
            isinstance(mark, ast.Name) and mark.id == "compiled" for mark in function.decorator_list
        ):
            used = {node.id for part in function.body for node in ast.walk(part) if isinstance(node, ast.Name)}
            assert not used & foreign, f"{path.name}: {function.name} uses {used & foreign}"
