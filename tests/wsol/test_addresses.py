"""Addresses of files elsewhere."""

from __future__ import annotations

import pytest

from wsol.addresses import open_address
from wsol.errors import InputError


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIA123:hunter2@bucket/runs",
        "s3://bucket/runs?secret_key=hunter2&region=eu-central-1",
        "s3://bucket/runs?access_key=hunter2",
        "gs://bucket/runs?session_token=hunter2",
    ],
)
def test_an_address_with_a_key_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(InputError, match="has a key in it") as error:
        open_address(address)
    assert "hunter2" not in str(error.value) and "AKIA123" not in str(error.value)


def test_an_address_may_have_options(tmp_path: object) -> None:
    assert open_address(f"file://{tmp_path}")[1] == str(tmp_path)
