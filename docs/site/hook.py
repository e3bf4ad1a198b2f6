"""What the site has besides the files of `docs/`: the documents at the root of the repository, and a page of reference
for every file of the packages, made of its docstrings. `mkdocs.yml` names this file as its hook."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
FROM_THE_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
FIRST = (
    *("index.md", "tutorial.md", "cluster_tutorial.md", "commands.md", "search_spaces.md", "campaigns.md", "runs.md"),
    *("metrics.md", "checkpoints.md", "clusters.md", "results.md"),
)
LAST = ("contributing.md", "design.md", "changelog.md")
PACKAGES = ("wsol", "orchestrator")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs/`, and put all of them in order: none can be forgotten."""
    for name, place in FROM_THE_ROOT.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    files.append(File.generated(config, "methods/index.md", content=_list_of_methods()))
    for module, place in modules():
        files.append(File.generated(config, place, content=f"# {module}\n\n::: {module}\n"))
    config.nav = navigation([file.src_uri for file in files.documentation_pages()])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository become links to their pages; what is not on the site stays, and is told as
    broken."""
    at_the_root = page.file.src_uri in FROM_THE_ROOT.values()
    written_in = "" if at_the_root else posixpath.dirname(f"docs/{page.file.src_uri}")
    shown_in = posixpath.dirname(page.file.src_uri) or "."

    def moved(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(written_in, found[2]))
        place = FROM_THE_ROOT.get(target, target.removeprefix("docs/"))
        return f"{found[1]}{posixpath.relpath(place + ('/index.md' if (ROOT / target).is_dir() else ''), shown_in)}"

    return re.sub(r"(\]\(|<img [^>]*src=\")(?!\w+:|#)([^)#\s\"]+)", moved, markdown)


def modules() -> Iterator[tuple[str, str]]:
    """Name and page of every file of the packages, without private ones."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not any(part.startswith("_") for part in parts):
                yield ".".join(parts), f"reference/{'/'.join(parts)}.md"


def navigation(places: list[str]) -> list[Any]:
    """Pages in the order of reading; those of a folder are together."""
    plain = sorted({place for place in places if "/" not in place} - {*FIRST, *LAST})
    below = sorted(
        (posixpath.dirname(place), not place.endswith("/index.md"), place) for place in places if "/" in place
    )
    groups = {folder: [place for *_, place in group] for folder, group in groupby(below, lambda found: found[0])}
    reference = [{_module(folder): group} for folder, group in groups.items() if folder.startswith("reference/")]
    others = [{folder.capitalize(): group} for folder, group in groups.items() if not folder.startswith("reference/")]
    return [*(place for place in (*FIRST, *plain, *LAST) if place in places), *others, {"Reference": reference}]


def _module(folder: str) -> str:
    return folder.removeprefix("reference/").replace("/", ".")


def _list_of_methods() -> str:
    pages = sorted((ROOT / "docs" / "methods").glob("*.md"))
    titles = (page.read_text(encoding="utf-8").partition("# ")[2].partition("\n")[0] for page in pages)
    entries = (f"- [{title}]({page.name})" for page, title in zip(pages, titles, strict=True))
    return "\n".join(["# Methods and extractors", "", *entries, ""])
