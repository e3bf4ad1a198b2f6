"""What the documents name exists: files, settings, plugins, targets of make, links and their anchors."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import orchestrator
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import ResourcesConfig
from orchestrator.experiment.study_config import StudyConfig
from orchestrator.runs import names
from tests.support.documents import DOCS, DOCUMENTS, PAGES, README, name_of
from tests.support.paths import ROOT
from wsol import plugins
from wsol.config import EvaluationConfig, OptimConfig, TrainingConfig
from wsol.layouts import LAYOUTS

FOLDERS = ("benchmarks", "clusters", "docs", "orchestrator", "search_spaces", "tests", "wsol")
SOURCES = (".py", ".yaml", ".md", ".bib", ".toml")
MADE = (".csv", ".diff", ".html", ".journal", ".json", ".safetensors", ".tgz", ".txt")
FOREIGN = {"data.yaml", "mine.yaml", "small.yaml"}
"""Files of other people and of the reader, which have the end of ours."""

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def quoted(document: Path) -> list[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`\n]+)`", document.read_text(encoding="utf-8"))


def is_there(name: str) -> bool:
    """Whether a file or folder of the repository has that name: a path from its root or from a package's, or the
    file's name alone; `<name>` and `*` stand for anything."""
    pattern = re.sub(r"<\w+>", "*", name.rstrip("/"))
    if "/" in pattern:
        return any(True for place in (ROOT, ROOT / "orchestrator", ROOT / "wsol") for _ in place.glob(pattern))
    return any(True for _ in ROOT.glob(pattern)) or any(
        True for folder in FOLDERS for _ in (ROOT / folder).rglob(pattern)
    )


def missing_sources(words: list[str]) -> list[str]:
    """The names of files of this repository that are none."""
    of_runs = {value.rpartition("/")[2] for key, value in vars(names).items() if key.isupper()}
    return [
        word
        for word in words
        if re.fullmatch(r"[\w./*<>-]+", word)
        and (word.endswith(SOURCES) or word.partition("/")[0] in FOLDERS)
        and word.rpartition("/")[2] not in of_runs | FOREIGN
        and not is_there(word)
    ]


@each_document
def test_files_exist(document: Path) -> None:
    assert not missing_sources(quoted(document))


def test_a_file_that_does_not_exist_is_found() -> None:
    wrong = [
        "orchestrator/experiment.py",
        "docs/campain.md",
        "wsol/tokenss/",
        "hass.py",
        "search_spaces/campaigns/a.yaml",
    ]
    right = [
        "study/samplers.py",
        "wsol/metrics/*.py",
        "has.py",
        "clusters/<name>.yaml",
        "best.yaml",
        "tests/wsol",
        "1e-3",
    ]
    assert missing_sources([*wrong, *right]) == wrong


@pytest.fixture(scope="module")
def code() -> str:
    """All of the packages and of the search spaces."""
    files = [path for folder in ("orchestrator", "wsol", "search_spaces") for path in (ROOT / folder).rglob("*")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".yaml"))


@each_document
def test_files_that_are_made_are_known_to_the_code(document: Path, code: str) -> None:
    made = {word.rpartition("/")[2] for word in quoted(document) if re.fullmatch(r"[\w./-]+", word)}
    strange = [name for name in made if name.endswith(MADE) and not name.startswith(".") and name not in code]
    assert not strange


def fields(section: str) -> set[str]:
    """What can be set in a section of a search space; of a plugin, what any of its kind takes."""
    kind = {"data": "dataset"}.get(section, section)
    if kind in plugins.FOLDERS:
        return {field for name in plugins.names(kind) for field in plugins.load(kind, name).Config.model_fields}
    return set(SECTIONS[section].model_fields)


SECTIONS: dict[str, Any] = {
    "study": StudyConfig,
    "resources": ResourcesConfig,
    "optim": OptimConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
}
SETTING = re.compile(rf"(?:search\.)?({'|'.join([*SECTIONS, 'method', 'backbone', 'data'])})\.([a-z_]+)(?=[=:.\s]|$)")


def unknown_settings(words: list[str]) -> list[str]:
    """The dotted settings that no section has."""
    found = ((word, SETTING.match(word)) for word in words if not word.endswith((*SOURCES, *MADE)))
    return [word for word, match in found if match and match[2] not in fields(match[1])]


@each_document
def test_settings_exist(document: Path) -> None:
    assert not unknown_settings(quoted(document))


def test_a_setting_that_does_not_exist_is_found() -> None:
    wrong = [
        "study.trails=4",
        "resources.worker",
        "method.cellsize",
        "search.optim.lrr.high=1",
        "training.checkpoints: last",
    ]
    right = [
        "study.trials=4",
        "data.root",
        "method.base.name=cam",
        "search.optim.lr.high=1",
        "torch.distributed",
        "data.yaml",
    ]
    assert unknown_settings([*wrong, *right]) == wrong


@each_document
def test_targets_of_make_extras_and_functions_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    imported = ", ".join(re.findall(r"from orchestrator import ([\w, ]+)", text)).split(", ")
    assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
    assert set(re.findall(r"wsol-search\[(\w+)\]", text)) <= set(extras)
    assert set(filter(None, imported)) <= set(orchestrator.__all__)


def anchors(document: Path) -> set[str]:
    """Where links into a document can lead: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path, text: str) -> Iterator[str]:
    """The relative links of a document's text that lead nowhere."""
    for path, _, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)(#([^)]*))?\)", text):
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield f"{path}#{anchor}"


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    assert not list(broken_links(document, document.read_text(encoding="utf-8")))


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "[a](docs/campain.md) [b](docs/commands.md#serach) [c](docs/commands.md#search) [d](#nowhere) [e](https://a.org)"
    assert list(broken_links(README, text)) == ["docs/campain.md#", "docs/commands.md#serach", "#nowhere"]


def test_the_readme_links_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([^)#]+)\)", README.read_text(encoding="utf-8")))
    assert {path.name for path in PAGES} <= linked


def first_column(document: Path, head: str) -> list[str]:
    """What stands in backquotes in the first column of the table with that head."""
    table = re.search(
        rf"^\| {re.escape(head)} \|.*\n\|-.*\n((?:\|.*\n)+)", document.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert table is not None, f"{document.name} has no table {head}"
    cells = [row.split(" | ")[0] for row in table[1].splitlines()]
    return [word for cell in cells for word in re.findall(r"`(\w+)`", cell)]


@pytest.mark.parametrize(
    ("page", "head", "kind"),
    [
        ("README.md", "`method.name`", "method"),
        ("docs/metrics.md", "`evaluation.metrics`", "metric"),
        ("docs/metrics.md", "`evaluation.extractor`", "extractor"),
        ("docs/metrics.md", "`evaluation.normalizer`", "normalizer"),
        ("docs/checkpoints.md", "`data.name`", "dataset"),
        ("docs/checkpoints.md", "`backbone.name`", "backbone"),
    ],
)
def test_tables_of_plugins_are_complete(page: str, head: str, kind: str) -> None:
    assert sorted(first_column(ROOT / page, head)) == plugins.names(kind)


def test_choices_and_layouts_are_complete() -> None:
    words = {page.name: set(quoted(page)) for page in PAGES}
    for field in ("sampler", "scheduler"):
        assert set(get_args(StudyConfig.model_fields[field].annotation)) <= words["search_spaces.md"]
    assert {f"study.{field}" for field in StudyConfig.model_fields} <= words["search_spaces.md"] | words["runs.md"]
    assert LAYOUTS.keys() <= words["checkpoints.md"]
    assert {f"clusters/{path.name}" for path in (ROOT / "clusters").glob("*.yaml")} <= words["clusters.md"]


def tree(document: Path, first: str) -> list[tuple[int, str]]:
    """The names of an indented tree that begins with a line, each with its depth in spaces."""
    block = re.search(
        rf"^    {re.escape(first)}.*\n(?: {{4}}.*\n)*", document.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert block is not None, f"{document.name} has no tree {first}"
    lines = [(len(line) - len(line.lstrip()), line.split("  ")) for line in block[0].splitlines()]
    return [
        (depth, name)
        for depth, parts in lines
        for name in re.split(r",? ", next(part for part in parts if part).strip())
    ]


def test_the_tree_of_the_readme_is_there() -> None:
    above: dict[int, Path] = {0: ROOT}
    for depth, name in tree(README, "launch.py"):
        parent = above[max(level for level in above if level < depth)]
        above = {level: path for level, path in above.items() if level < depth} | {depth: parent / name}
        assert (parent / name).exists(), parent / name


def test_the_trees_of_run_folders_have_the_names_of_the_code() -> None:
    known = {part for key, value in vars(names).items() if key.isupper() for part in value.split("/")}
    shown = [*tree(DOCS / "runs.md", "runs/<file name>/")[2:], *tree(DOCS / "campaigns.md", "runs/<campaign>/")[1:]]
    assert {name.partition("/")[0] for _, name in shown} <= known | {"<cell>"}


def yaml_block(document: Path, first: str) -> str:
    """An indented block of YAML that begins with a key, to the left."""
    block = re.search(rf"^    {first}:(?:.*\n(?:    .*\n)+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert block is not None
    return re.sub(r"^    ", "", block[0], flags=re.MULTILINE)


def test_the_search_space_of_the_readme_is_valid(tmp_path: Path) -> None:
    text = yaml_block(README, "trial")
    assert set(yaml.safe_load(text)) == {"trial", "search", "points", "post_hoc", "study", "resources"}
    file = tmp_path / "readme.yaml"
    file.write_text(text)
    load_experiment(file)


def test_the_distributions_of_their_page_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "distributions.yaml"
    file.write_text(
        f"extends: {ROOT / 'search_spaces' / 'synthetic.yaml'}\n{yaml_block(DOCS / 'search_spaces.md', 'search')}"
    )
    assert len(load_experiment(file).experiment.search) == 7


@pytest.mark.parametrize("kind", ["method", "extractor"])
def test_every_plugin_of_a_paper_is_in_the_bibliography(kind: str) -> None:
    notes = re.findall(r"note\s*= \{(.*)\}", (DOCS / "papers.bib").read_text(encoding="utf-8"))
    known = set(re.findall(r"\w+", " ".join(notes).replace("\\_", "_")))
    assert set(plugins.names(kind)) <= known
