"""The site that `make docs` builds: complete, without a broken link, and it searches without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import PROGRAM, visit
from tests.support.paths import ROOT

DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))
SEARCHED = """
(async () => {
  const until = async (found) => {
    while (!found()) await new Promise((next) => setTimeout(next, 50));
    return found();
  };
  const input = document.querySelector('[data-md-component=search-query]');
  document.querySelector('#__search').click();
  input.focus();
  input.value = 'parameter_groups';
  input.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));
  return (await until(() => document.querySelector('.md-search-result__link'))).href;
})()
"""
LOOK = r"""
({
  width: document.documentElement.scrollWidth,
  torn: [...document.querySelectorAll('td code, th code')]
    .filter((code) => /^[\w.]+$/.test(code.textContent) && code.getClientRects().length > 1)
    .map((code) => code.textContent),
})
"""


def test_the_builder_is_among_the_tools_of_developers() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    assert {re.split(r"[\[>]", tool)[0] for tool in tools} >= {"mkdocs-material", "mkdocstrings"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason='pip install -e ".[dev]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def broken(page: str, tmp_path: Path) -> Iterator[str]:
    """What building one page warns of."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(page)
    settings = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site"), "plugins": [], "hooks": []}
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), **settings))
    except Abort as abort:
        yield str(abort)


@pytest.mark.parametrize("target", ["nothing.md", "#nothing", "pictures/nothing.png", "index.md#nothing"])
def test_a_broken_link_ends_the_build(target: str, tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason='pip install -e ".[dev]"')
    assert list(broken(f"# Title\n\n[text]({target})\n", tmp_path)) == ["Aborted with 1 warnings in strict mode!"]


def test_a_good_link_does_not(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason='pip install -e ".[dev]"')
    assert not list(broken("# Title\n\n[text](#title)\n", tmp_path))


@pytest.mark.parametrize(
    ("page", "written", "shown"),
    [
        ("index.md", "[a](docs/commands.md#init)", "[a](commands.md#init)"),
        ("index.md", "[a](docs/methods)", "[a](methods/index.md)"),
        ("index.md", '<img width="9" src="docs/pictures/a.png">', '<img width="9" src="pictures/a.png">'),
        ("commands.md", "[a](../README.md)", "[a](index.md)"),
        ("methods/tap.md", "[a](../../CONTRIBUTING.md)", "[a](../contributing.md)"),
        ("methods/tap.md", "[a](nothing.md)", "[a](nothing.md)"),
        ("commands.md", "[a](https://example.org/a.md), [b](#init)", "[a](https://example.org/a.md), [b](#init)"),
    ],
)
def test_links_to_files_become_links_to_pages(page: str, written: str, shown: str) -> None:
    pytest.importorskip("mkdocs", reason='pip install -e ".[dev]"')
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

    from docs.site.hook import on_page_markdown

    config = MkDocsConfig()
    config.load_dict({"site_name": "a", "docs_dir": "docs", "site_dir": "site"})
    file = File(page, "docs", "site", use_directory_urls=False)
    assert on_page_markdown(written, Page(None, file, config), config, Files([file])) == shown


@pytest.mark.slow
def test_no_document_and_no_file_of_the_packages_is_forgotten(site: Path) -> None:
    documents = [document.relative_to(ROOT / "docs").with_suffix(".html") for document in DOCUMENTS]
    modules = [
        Path("reference") / file.relative_to(ROOT).with_suffix(".html")
        for package in ("wsol", "orchestrator")
        for file in (ROOT / package).rglob("[!_]*.py")
    ]
    text = (site / "commands.html").read_text()
    for page in [Path("index.html"), Path("contributing.html"), Path("changelog.html"), *documents, *modules]:
        assert (site / page).is_file(), page
        assert page == Path("commands.html") or f'href="{page.as_posix()}"' in text, f"{page}: not in the navigation"


@pytest.mark.slow
def test_reference_says_what_docstrings_say(site: Path) -> None:
    page = (site / "reference" / "wsol" / "method.html").read_text()
    assert "A way to train a classifier so that it localises." in page and 'id="wsol.method.Method.loss_terms"' in page


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")
@pytest.mark.parametrize("page", ["index", "tutorial", "commands", "methods/tap", "reference/wsol/method"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_open_from_the_disk(site: Path, page: str, width: int) -> None:
    assert (site / f"{page}.html").is_file()
    seen = visit(site / f"{page}.html", LOOK, width=width)
    assert not seen.errors
    assert all(address.startswith(("file:", "data:")) for address in seen.requests), "nothing is asked of the network"
    assert seen.value["width"] <= width, "nothing sticks out"
    assert not seen.value["torn"], "no name in a table is torn apart"


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")
def test_the_search_works_without_a_network(site: Path) -> None:
    seen = visit(site / "commands.html", SEARCHED)
    assert not seen.errors
    assert "/reference/wsol/method.html" in seen.value, "the page of the docstring"
