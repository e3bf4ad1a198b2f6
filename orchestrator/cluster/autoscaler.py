"""Reads how far the autoscaler of a cluster may grow it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from orchestrator.experiment.paths import Values

BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")  # `ray up` leaves the cluster's file there, on the head


MAXIMUM = "WSOL_CLUSTER_MAXIMUM"  # where there is no such file: JSON, such as {"CPU": 32, "GPU": 4}


def autoscaler_maximum() -> dict[str, float]:
    """The total resources that the autoscaler of the cluster may start; empty if unknown, as outside of its head."""
    if MAXIMUM in os.environ:
        return {name: float(amount) for name, amount in json.loads(os.environ[MAXIMUM]).items()}
    if BOOTSTRAP.expanduser().exists():
        return largest_amounts(yaml.safe_load(BOOTSTRAP.expanduser().read_text()))
    return {}


def largest_amounts(config: Values) -> dict[str, float]:
    """The largest total of each resource that the workers of a cluster file can have."""
    head, types = config.get("head_node_type"), config.get("available_node_types", {})
    limit = int(config.get("max_workers", 0))
    found = {}
    for name in {resource for kind in types.values() for resource in kind.get("resources", {})}:
        each = [
            kind["resources"].get(name, 0)
            for label, kind in types.items()
            if label != head
            for _ in range(kind.get("max_workers", limit))
        ]
        found[name] = float(sum(sorted(each, reverse=True)[:limit]))
    return found
