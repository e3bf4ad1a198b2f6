"""Our own numbers in the documents, in tables and in sentences, are those of the data file; the pages that are made are
up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.comparison.measured import measured_tables
from orchestrator.verbs.describe import pages, with_numbers
from tests.support.documents import DOCS, WRITTEN, name_of
from wsol import plugins


def test_the_pages_of_the_methods_are_up_to_date() -> None:
    assert {path.name: path.read_text() for path in (DOCS / "methods").iterdir()} == pages(), "run `make docs`"


@pytest.mark.parametrize("document", WRITTEN, ids=name_of)
def test_our_own_tables_are_those_of_the_data_file(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert with_numbers(text) == text, "run `make docs`"


def test_every_table_of_the_data_file_is_shown() -> None:
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    for table in measured_tables():
        assert table.markdown() in text, table.name


def marked(text: str) -> Iterator[tuple[str, str]]:
    """Name and text of every place where our own numbers stand."""
    return iter(re.findall(r"<!-- measured: (\S+) -->\n(.*?)<!-- end -->", text, re.DOTALL))


def strange_numbers(text: str) -> list[str]:
    """The decimal numbers of marked places that their tables do not have."""
    tables = {table.name: table.markdown() for table in measured_tables()}
    return [
        number
        for name, place in marked(text)
        for number in re.findall(r"\d+\.\d+", place)
        if number not in re.findall(r"\d+\.\d+", tables[name])
    ]


@pytest.mark.parametrize("document", WRITTEN, ids=name_of)
def test_our_own_numbers_in_sentences_are_those_of_the_data_file(document: Path) -> None:
    assert not strange_numbers(document.read_text(encoding="utf-8"))


def test_a_number_that_was_not_measured_is_found() -> None:
    table = measured_tables()[0]
    number = re.findall(r"\d+\.\d+", table.rows[0].values[0] or "")[0]
    assert strange_numbers(f"<!-- measured: {table.name} -->\n\nCAM has {number}, not 99.99.\n\n<!-- end -->") == [
        "99.99"
    ]


def test_a_table_of_methods_gets_its_numbers() -> None:
    one, other = measured_tables()[:2]
    rows = "| `method.name` | a | b | paper |\n|---|---|---|---|\n| `cam` |  | x | Zhou |\n| `zam` | y |  | Bai |"
    numbers = [(table.rows[0].values[0] or "").partition(" ")[0] for table in (one, other)]
    text = f"<!-- methods: {one.name}, {other.name} -->\n\n{rows}\n\n<!-- end -->"
    assert all(re.fullmatch(r"\d+\.\d", number) for number in numbers)
    assert with_numbers(text) == text.replace("|  | x |", f"| {numbers[0]} | {numbers[1]} |").replace("| y |", "|  |")


def test_every_measured_row_is_of_a_method_and_complete() -> None:
    for table in measured_tables():
        for row in table.rows:
            assert row.method in (*plugins.names("method"), "centre Gaussian")
            assert len(row.values) == len(table.columns) and row.values[0]
