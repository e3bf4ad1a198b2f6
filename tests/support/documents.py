"""The documents of the repository."""

from __future__ import annotations

from pathlib import Path

from tests.support.paths import ROOT

README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WRITTEN = [README, ROOT / "CONTRIBUTING.md", *PAGES]
DOCUMENTS = [*WRITTEN, *sorted(DOCS.glob("*/*.md"))]
"""Those that are written, and those that are made."""


def name_of(document: Path) -> str:
    """Its path in the repository, for the names of tests."""
    return str(document.relative_to(ROOT))
