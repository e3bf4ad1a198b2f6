"""`make results` ends like a verb of the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import results
from tests.support.paths import ROOT


def test_bad_input_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["results", "--data", str(tmp_path / "none"), "--run", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        results.main()
    assert end.value.code == 2 and not (tmp_path / "run").exists()
    assert f"error: {tmp_path}/none/images: no such folder" in capsys.readouterr().err
