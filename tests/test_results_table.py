"""`make results` ends like a verb of the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import results
from tests.support.paths import ROOT
from wsol.errors import InputError


def test_bad_input_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["results", "--data", str(tmp_path / "none"), "--run", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        results.main()
    assert end.value.code == 2 and not (tmp_path / "run").exists()
    assert f"error: {tmp_path}/none/images: no such folder" in capsys.readouterr().err


def test_a_campaign_without_cam_has_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results.orchestrator, "protocol", lambda *words, run: run)
    with pytest.raises(InputError, match="no tested run of cam, with which all others are compared"):
        results.make(tmp_path, tmp_path)
