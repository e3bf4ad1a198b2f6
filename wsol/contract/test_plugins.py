"""What every plugin keeps, whatever its kind."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wsol import plugins
from wsol.contract.found import EVERY, file_of, usable
from wsol.contract.numbers import beyond, number_fields, refuses
from wsol.schema import PluginConfig, meanings

PUBLISHED = [
    (kind, name) for kind, name in EVERY if kind in ("method", "extractor") and (kind, name) != ("extractor", "cam")
]
"""Those that stand for a paper of their own; the extractor cam is the map of whatever method it gets."""

every_plugin = pytest.mark.parametrize(("kind", "name"), EVERY)


@every_plugin
def test_unknown_key_is_refused(kind: str, name: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        plugins.load(kind, name).Config(name=name, unknown=1)


@every_plugin
def test_every_setting_is_explained(kind: str, name: str) -> None:
    config = plugins.load(kind, name).Config
    told = meanings(config)
    settings = [field for field in config.model_fields if field != "name" and not told.get(field)]
    assert not settings, (
        f"{file_of(kind, name)}: {', '.join(settings)} not explained under `Attributes:` in the docstring of its Config"
    )


@every_plugin
def test_the_first_line_says_what_it_is(kind: str, name: str) -> None:
    assert (plugins.load(kind, name).__doc__ or "").strip(), (
        f"{file_of(kind, name)}: needs a docstring, whose first line `list` shows"
    )


@pytest.mark.parametrize(("kind", "name"), PUBLISHED)
def test_docstring_names_its_paper_and_its_quirks(kind: str, name: str) -> None:
    text = plugins.load(kind, name).__doc__ or ""
    missing = [section for section in plugins.SECTIONS if f"\n{section}" not in text]
    assert not missing, (
        f"{file_of(kind, name)}: its docstring has no paragraph {', '.join(f'`{section}: ...`' for section in missing)}"
    )


CONFIGS = [plugins.load(kind, name).Config for kind in plugins.FOLDERS for name in usable(kind)]


@pytest.mark.parametrize(("model", "name", "kind"), [case for model in CONFIGS for case in number_fields(model)])
def test_no_field_takes_what_its_numbers_cannot_hold(model: type[PluginConfig], name: str, kind: type) -> None:
    for value in beyond(kind):
        refuses(model, name, value, {})
