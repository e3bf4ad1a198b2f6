"""Settings of methods out of their ranges."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wsol import plugins


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("has", {"cell_size": 0}),
        ("has", {"drop_rate": 1.1}),
        ("cutmix", {"alpha": 0.0}),
        ("cutmix", {"probability": -0.1}),
    ],
)
def test_ranges(name: str, fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        plugins.load("method", name).Config(**fields)
