"""The table of mistakes fits the code: a row that is never tried proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.table import Mutant, read_table
from tests.mutants.trying import made


@pytest.mark.parametrize("row", read_table(), ids=lambda row: row.name[:100])
def test_the_mistake_can_still_be_made(row: Mutant) -> None:
    assert row.problem() is None


def test_rows_differ() -> None:
    rows = read_table()
    assert len({(row.file, row.text, row.replacement) for row in rows}) == len(rows)


def test_a_mistake_is_made_and_taken_back(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    row = Mutant("a.py", "1", "2", ("tests",))
    with made(row, tmp_path):
        assert (tmp_path / "a.py").read_text() == "x = 2\n"
    assert (tmp_path / "a.py").read_text() == "x = 1\n"
    assert "0 times" in str(Mutant("a.py", "3", "2", ("tests",)).problem(tmp_path))
    assert "there is no tests" in str(row.problem(tmp_path))
