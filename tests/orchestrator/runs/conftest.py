"""Places in stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsol.addresses import below


@pytest.fixture(params=["s3", "file"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place in an object store, and in another folder."""
    name = tmp_path.name.replace("_", "-")
    return (
        below(request.getfixturevalue("bucket"), name)
        if request.param == "s3"
        else (tmp_path / "store" / name).as_uri()
    )
