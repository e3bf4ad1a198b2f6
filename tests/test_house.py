"""Imports go down only: launch -> orchestrator, wing by wing -> wsol; plugins know no siblings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import orchestrator
from orchestrator.runs import names
from tests.support.paths import ROOT
from wsol.checkpoint import MANIFEST
from wsol.plugins import FOLDERS

WSOL = sorted((ROOT / "wsol").rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("orchestrator", "wsol")
    for path in sorted((ROOT / package).rglob("*.py"))
}
WINGS = (
    ("cli", "api"),
    ("verbs",),
    ("campaign",),
    ("preflight", "winner", "trials"),
    ("report", "comparison", "study", "cluster"),
    ("runs",),
    ("experiment",),
    ("pictures", "console"),
    ("formats", "shipped"),
)
"""From the top floor down; wings on one floor ignore each other. `formats` and its neighbours are single files."""
FLOOR = {name: floor for floor, names in enumerate(reversed(WINGS)) for name in names}
RAY_WINGS = ("cluster", "trials")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


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


def wing(name: str) -> str:
    """The wing of a module of the orchestrator, such as `study` of `orchestrator.study.points`."""
    return name.split(".")[1]


def modules_imported(path: Path) -> set[str]:
    """Full names of the modules of this repository that a file imports, anywhere in it: lazily or for types as well."""
    found = set()
    for name in imported(path):
        found |= {known for known in (name, name.rpartition(".")[0]) if known in MODULES}
    return found


@pytest.mark.parametrize("name", [name for name in MODULES if name.count(".") and name.startswith("orchestrator.")])
def test_wings_import_wings_below_only(name: str) -> None:
    above = [
        other
        for other in modules_imported(MODULES[name])
        if other.startswith("orchestrator.") and wing(other) != wing(name) and FLOOR[wing(other)] >= FLOOR[wing(name)]
    ]
    assert not above, f"{name} imports {', '.join(above)}: a wing imports only wings below it, see WINGS"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("orchestrator")])
def test_ray_is_called_in_two_wings(name: str) -> None:
    if name == "orchestrator" or wing(name) not in RAY_WINGS:
        assert not [other for other in imported(MODULES[name]) if other.split(".")[0] == "ray"]


def test_every_wing_has_its_place_and_an_empty_init() -> None:
    assert {wing(name) for name in MODULES if name.startswith("orchestrator.")} == set(FLOOR)
    inits = [path for path in (ROOT / "orchestrator").glob("*/__init__.py") if path.read_text()]
    assert not inits, inits


def test_no_wing_hides_a_verb_of_the_package() -> None:
    assert not set(FLOOR) & set(orchestrator.__all__)


FILE_NAMES = {value.rpartition("/")[2] for key, value in vars(names).items() if key.isupper()} | {MANIFEST}
WORDS = {name for name in FILE_NAMES if "." not in name}
"""Names of folders, words that stand for other things as well: only in a path are they names."""


def spelled(tree: ast.Module) -> set[str]:
    """The names of files of a run folder that a file spells itself, whole or at the end of a path or of a pattern."""
    texts = {id(node): node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    in_paths = {
        id(side)
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        for side in (node.left, node.right)
    }
    return {
        text
        for node, text in texts.items()
        if isinstance(text, str) and text.rpartition("/")[2] in (FILE_NAMES if node in in_paths else FILE_NAMES - WORDS)
    }


@pytest.mark.parametrize("name", [name for name in MODULES if name.count(".") and name.startswith("orchestrator.")])
def test_file_names_of_a_run_are_spelled_in_one_place(name: str) -> None:
    if wing(name) != "runs":
        found = spelled(ast.parse(MODULES[name].read_text()))
        assert not found, f"{name} spells {', '.join(found)}: take it from orchestrator/runs/names.py"


def test_a_spelled_file_name_is_found() -> None:
    text = (
        'a = folder / "best" / "result.json"; b = glob("seeds/*/study.json"); c = f"{run}/best.yaml"; d = {"best": 1}'
    )
    assert spelled(ast.parse(text)) == {"best", "result.json", "seeds/*/study.json", "/best.yaml"}


def test_no_file_imports_in_a_circle() -> None:
    left = {name: modules_imported(path) - {name} for name, path in MODULES.items()}
    while free := [name for name, needed in left.items() if not needed & set(left)]:
        for name in free:
            del left[name]
    assert not left, f"these import each other, or what does: {', '.join(sorted(left))}"


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


ORCHESTRATOR = sorted((ROOT / "orchestrator").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 300, 60
COMPILED = {ROOT / "wsol" / "ops" / "component_tree.py"}
SIZED = [
    path
    for folder in ("orchestrator", "wsol", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path not in COMPILED
]


@pytest.mark.parametrize("path", SIZED, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE, f"{path} has {text.count(chr(10))} lines: it has more than one subject"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{path.name}: {node.name}"


def test_what_travels_has_a_type() -> None:
    """Dictionaries of anything stand only where YAML, JSON, Ray and Optuna enter and leave."""
    count = sum(path.read_text(encoding="utf-8").count("dict[str, Any]") for path in ORCHESTRATOR)
    assert count <= 40, f"dict[str, Any] stands {count} times in orchestrator/"


def described_arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names in the section `Args:` of a docstring, where it is a list."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
    return set(re.findall(r"^    (\S[^:\n]*):", section[1], re.MULTILINE)) if section else set()


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_describe_arguments_that_exist(name: str) -> None:
    """The reference of the site, whose build is slow, refuses others."""
    functions = [node for node in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(node, FUNCTIONS)]
    for node in functions:
        given = node.args
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        names = {f"{stars}{one.arg}" for one in named if one for stars in ("", "*", "**")}
        assert described_arguments(node) <= names, node.name
