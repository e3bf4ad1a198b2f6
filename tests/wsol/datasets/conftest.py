"""Fixtures of the published data sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(
    params=[
        False,
        pytest.param(
            True, marks=pytest.mark.skipif("WSOL_METADATA" not in os.environ, reason="needs published metadata")
        ),
    ]
)
def real(request: pytest.FixtureRequest) -> bool:
    """Published names or patterned ones."""
    return bool(request.param)
