"""Describes a plugin in Markdown: the docstring of its file, its settings, and the search spaces that use it. The pages
in `docs/methods/` are made from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from orchestrator.comparison.measured import MeasuredTable, measured_tables
from orchestrator.comparison.published import PublishedRow, published_tables
from orchestrator.experiment.variants import variant_names, with_variants
from orchestrator.experiment.yaml_reader import Document, read_yaml
from orchestrator.shipped import shipped_root
from wsol import plugins
from wsol.plugins import SECTIONS
from wsol.schema import PluginConfig, meanings

FURTHER_SECTIONS = ("How much it changes",)
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}", "min_length": "at least {}"}


def page(kind: str, name: str, *, level: int = 1) -> str:
    """A plugin as Markdown.

    Args:
        kind: a key of `plugins.FOLDERS`.
        name: the plugin's name.
        level: the level of its heading, 1 for `#`.

    Raises:
        ValueError: there is no such plugin.
    """
    plugin = plugins.load(kind, name)
    title, _, text = inspect.cleandoc(plugin.__doc__ or "").partition("\n")
    parts = [
        f"{'#' * level} `{name}`: {title.rstrip('.')}",
        _with_bold_sections(text.strip()),
        _settings(plugin.Config),
    ]
    if kind == "method":
        parts += [_published(name), _search_spaces(name), _measured(name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def pages() -> dict[str, str]:
    """The pages of `docs/methods/`, file name -> text: one for each method, one for all extractors; none for plugins
    of other packages."""
    made = "<!-- Made by `make docs` from {}. -->\n\n"
    found = {
        f"{name}.md": made.format(f"wsol/methods/{name}.py") + page("method", name)
        for name in plugins.built_in("method")
    }
    extractors = "\n".join(page("extractor", name, level=2) for name in plugins.built_in("extractor"))
    return {**found, "extractors.md": f"{made.format('wsol/extractors/')}# Extractors\n\n{extractors}"}


def with_numbers(text: str) -> str:
    """A document with our own numbers filled in, between a comment that names a table of them and `<!-- end -->`.

    After `<!-- measured: NAME -->` a table becomes that table; sentences stay as they are. After
    `<!-- methods: NAME -->`, or several names, the columns behind a method's name become its main numbers in those
    tables.
    """
    tables = {table.name: table for table in measured_tables()}
    text = re.sub(
        r"(<!-- measured: (\S+) -->\n\n)\|.*?(?=\n\n<!-- end -->)",
        lambda found: found[1] + tables[found[2]].markdown(),
        text,
        flags=re.DOTALL,
    )
    return re.sub(
        r"(<!-- methods: (.+?) -->\n\n)(.*?)(?=\n\n<!-- end -->)",
        lambda found: found[1] + _with_columns(found[3], [tables[name] for name in found[2].split(", ")]),
        text,
        flags=re.DOTALL,
    )


def _with_columns(rows: str, tables: Sequence[MeasuredTable]) -> str:
    """Rows that begin with a method in backquotes, with its main number in each table behind it."""
    lines = []
    for line in rows.splitlines():
        if method := re.match(r"\| \[?`(\w+)`", line):
            name, *cells = line.split(" | ")
            cells[: len(tables)] = [table.main_number(method[1]) for table in tables]
            line = " | ".join([name, *cells])
        lines.append(line)
    return "\n".join(lines)


def write_documents(root: Path) -> None:
    """Write the pages of `docs/methods/`, and our own numbers in the README and the pages of `docs/`.

    Args:
        root: the top folder of the checkout.
    """
    folder = root / "docs" / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in (root / "README.md", *(root / "docs").glob("*.md")):
        path.write_text(with_numbers(path.read_text(encoding="utf-8")), encoding="utf-8")


def _with_bold_sections(text: str) -> str:
    """Make every section a paragraph of its own, with its name in bold."""
    return re.sub(
        rf"\n*^({'|'.join((*SECTIONS, *FURTHER_SECTIONS))})( \(.*?\))?:", r"\n\n**\1**\2:", text, flags=re.MULTILINE
    ).strip()


def _settings(config: type[PluginConfig]) -> str:
    fields = {name: field for name, field in config.model_fields.items() if name != "name"}
    if not fields:
        return "No settings."
    told = meanings(config)
    rows = [
        f"| `{name}` | `{_default(field)}` | {_allowed(field)} | {told.get(name, '')} |"
        for name, field in fields.items()
    ]
    return "\n".join(["| setting | default | allowed | meaning |", "|---|---|---|---|", *rows])


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, PluginConfig):
        value = {"name": value.name}
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")


def _allowed(field: FieldInfo) -> str:
    bounds = [
        text.format(getattr(mark, key))
        for mark in field.metadata
        for key, text in BOUNDS.items()
        if getattr(mark, key, None) is not None
    ]
    return " ".join(bounds) or ", ".join(_choices(field.annotation))


def _choices(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (f"`{choice}`" for choice in get_args(annotation))
    elif get_args(annotation):
        for part in get_args(annotation):
            yield from _choices(part)
    elif annotation is bool:
        yield from ("`true`", "`false`")
    elif isinstance(annotation, type) and annotation is not NoneType:
        yield "a plugin" if issubclass(annotation, PluginConfig) else annotation.__name__


def _published(method: str) -> str:
    """The published numbers of a method, alone or around another one, with one line for each row of a paper's table."""
    rows = []
    for table in published_tables():
        for row in (row for row in table.rows if row.method.partition("(")[0] == method):
            usual = PublishedRow(row.method, row.values)
            kinds = ("size", "boxes", "normalizer", "extractor", "guide")
            named = [(kind, getattr(row, kind), getattr(usual, kind)) for kind in kinds]
            told = (f"{kind} {name}" for kind, name, other in named if name != other)
            numbers = ", ".join(
                f"{name} {value}" for name, value in zip(table.backbones, row.values, strict=True) if value is not None
            )
            setting = ", ".join([row.method, *told])
            rows.append(f"| {table.dataset} | {table.metric} | {setting} | {numbers} | {table.source} |")
    return (
        "\n".join(["| data set | metric | setting | published, % on test | source |", "|---|---|---|---|---|", *rows])
        if rows
        else ""
    )


def _measured(method: str) -> str:
    """Our own numbers of a method."""
    return "\n\n".join(
        f"Our own numbers, % on test ({table.about}):\n\n{rows}"
        for table in measured_tables()
        if (rows := table.markdown(method))
    )


def _search_spaces(method: str) -> str:
    """The shipped files that train the method; where only variants of a file do, the first of them is named."""
    rows = []
    for file, title, methods in _shipped_files():
        using = next((variant for variant, names in methods.items() if method in names), None)
        if using is not None:
            rows.append(f"- `search_spaces/{file}{using}`: {title}")
    return (
        "\n".join(
            ["Search spaces, for `python launch.py search FILE`; the head of each says what else to run:", "", *rows]
        )
        if rows
        else ""
    )


@cache
def _shipped_files() -> list[tuple[str, str, dict[str, list[str]]]]:
    """File name, title, and what the command line adds (nothing, or a variant) -> names of the methods."""
    found = []
    for path in sorted((shipped_root() / "search_spaces").glob("*.yaml")):
        document = read_yaml(path)
        methods = {
            "".join(f" variant={name}" for name in chosen): _methods(with_variants(document, chosen))
            for chosen in ([], *([name] for name in variant_names(document)))
        }
        found.append((path.name, path.read_text(encoding="utf-8").splitlines()[0].strip("# :"), methods))
    return found


def _methods(document: Document) -> list[str]:
    """The method that a file names, and those inside of it."""
    names: list[str] = []
    inside = document.values.get("trial", {}).get("method")
    while inside is not None:
        names.append(inside.get("name"))
        inside = inside.get("base")
    return names
