"""The table of mistakes fits the code: a row that is never tried proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import trying
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


def test_a_copy_has_the_code_and_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    for folder in (*trying.COPIED, "tests/vectors", ".venv", ".git"):
        (root / folder).mkdir(exist_ok=True, parents=True)
        (root / folder / "file.py").touch()
    (root / "launch.py").touch()
    (root / "Makefile").touch()
    monkeypatch.setattr(trying, "ROOT", root)
    copy = trying.copied(tmp_path / "copy")
    assert {path.name for path in copy.iterdir()} == {*trying.COPIED, "launch.py", "Makefile"}
    assert (copy / "wsol" / "file.py").is_file() and (copy / "tests" / "vectors").is_symlink()
