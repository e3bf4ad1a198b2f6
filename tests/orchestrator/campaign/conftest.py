"""A campaign file, and machines for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from orchestrator.campaign import running
from tests.support.campaigns import Machines, write
from tests.support.tiny import TINY


@pytest.fixture
def campaign_file(space_file: Path) -> Path:
    """A campaign of four cells, beside the tiny search space, which has a variant."""
    has = {
        "trial": {"method": {"name": "has", "cell_size": 8, "drop_rate": 0.3}},
        "search": {"method.drop_rate": {"low": 0.0, "high": 0.5}},
    }
    space_file.write_text(yaml.safe_dump({**TINY, "variants": {"has": has}}, sort_keys=False))
    return write(space_file.with_name("all.yaml"))


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    @contextmanager
    def connected(address: str | None, packages: Sequence[str]) -> Iterator[dict[str, float]]:
        yield {"CPU": 1.0, "GPU": 0.0}

    here = Machines()
    monkeypatch.setattr("orchestrator.trials.tuner.run_trials", here.run_trials)
    monkeypatch.setattr("orchestrator.verbs.protocol.connected", connected)
    monkeypatch.setattr("orchestrator.cluster.plan.node_resources", lambda kind=None: [{"CPU": 1.0}])
    monkeypatch.setattr(running, "on_worker_node", here.on_ray)
    return here
