"""What every plugin keeps, whatever its kind: a new file is tested here without being named."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wsol import plugins
from wsol.gradients import BlockConfig

EVERY = [(kind, name) for kind in plugins.FOLDERS for name in plugins.names(kind)]
PUBLISHED = [
    (kind, name) for kind, name in EVERY if kind == "method" or (kind == "extractor" and issubclass(plugins.load(kind, name).Config, BlockConfig))
]
"""Those that stand for a paper of their own."""


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_unknown_key_is_refused(kind: str, name: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        plugins.load(kind, name).Config(name=name, unknown=1)


@pytest.mark.parametrize(("kind", "name"), PUBLISHED)
def test_docstring_names_its_paper_and_its_quirks(kind: str, name: str) -> None:
    text = plugins.load(kind, name).__doc__
    for section in ("Idea", "Paper", "Symbols", "Kept from the released code", "Not kept"):
        assert f"\n{section}" in text, section
