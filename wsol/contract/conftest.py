"""What the tests of this folder share, wherever they are run from."""

from __future__ import annotations

import pytest

from wsol.contract.seeds import begin_draws_anew


def pytest_configure(config: pytest.Config) -> None:
    """The marker is known in every project."""
    config.addinivalue_line("markers", "slow: networks of full size, several processes")


@pytest.fixture(autouse=True)
def _the_same_draws_in_every_run() -> None:
    """What a test draws without a seed of its own is the same whenever and after whatever it runs."""
    begin_draws_anew()
