"""Shared by all HTML pages: filling a template, and embedding pictures in it."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.formats import (
    clock_text,
    duration,
    metric_label,
    plain_text,
    printable,
    score_text,
    settings_in_words,
    short_reason,
    to_yaml,
)

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> jinja2.Template:
    """A page of `templates/`. All text is escaped, and shown as it is: see `printable`."""
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    """One for all pages: it keeps what it has compiled, and compiling a page takes longer than filling it."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # markup is text that is safe already
    )
    environment.filters.update(
        score=score_text,
        plain=plain_text,
        printable=printable,
        duration=duration,
        clock=clock_text,
        metric=metric_label,
        yaml=to_yaml,
        short_reason=short_reason,
        setting=settings_in_words,
    )
    return environment


def embedded(file: Path) -> str:
    """A JPEG as a data URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}"
