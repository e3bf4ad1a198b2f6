"""Recorded cases of another folder are run as ours are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support import vectors


def test_cases_of_another_folder_with_our_helper_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backbones").mkdir()
    shutil.copy(next((vectors.OWN / "adl").glob("*.npz")), tmp_path / "backbones" / "any.npz")
    monkeypatch.setattr(vectors, "FOLDER", tmp_path)
    assert [case.id for case in vectors.files("backbones")] == ["any"]  # type: ignore[attr-defined]
    name = "state_dict_keys_base.json"
    assert vectors.helper("backbones", name) == vectors.OWN / "backbones" / name
    (tmp_path / "backbones" / name).write_text("{}")
    assert vectors.helper("backbones", name) == tmp_path / "backbones" / name


def test_every_group_of_ours_is_asked_for_by_a_test() -> None:
    """A folder of recorded cases that nobody reads proves nothing."""
    tests = vectors.OWN.parent
    text = "".join(path.read_text() for path in tests.rglob("*.py") if path.name != Path(__file__).name)
    assert not [folder.name for folder in vectors.OWN.iterdir() if folder.is_dir() and f'"{folder.name}"' not in text]
    asked = set(re.findall(r'\bfiles\("(\w+)"', text))  # one without files is skipped, so a slip would be, too
    assert asked and not [group for group in asked if not list((vectors.OWN / group).glob("*.npz"))]
