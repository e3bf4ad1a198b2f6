"""How far the autoscaler may grow a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cluster.autoscaler import MAXIMUM, autoscaler_maximum, largest_amounts
from tests.support.clusters import read

pytestmark = pytest.mark.usefixtures("in_the_checkout")


def test_the_largest_cluster_counts_workers_up_to_the_limit() -> None:
    config = {
        "max_workers": 3,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 4, "head": 1000}, "max_workers": 0},
            "big": {"resources": {"CPU": 8, "GPU": 4}, "max_workers": 2},
            "small": {"resources": {"CPU": 2}},
        },
    }
    assert largest_amounts(config) == {"CPU": 18, "GPU": 8, "head": 0}


def test_the_maximum_comes_from_the_head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert autoscaler_maximum() == {}
    (tmp_path / "ray_bootstrap_config.yaml").write_text(json.dumps(read("gpu")))  # as `ray up` leaves it
    assert autoscaler_maximum() == {"CPU": 48, "GPU": 6, "head": 0}
    monkeypatch.setenv(MAXIMUM, '{"CPU": 32, "GPU": 4}')
    assert autoscaler_maximum() == {"CPU": 32, "GPU": 4}
