"""What is said of a cluster that cannot be used."""

from __future__ import annotations

import copy
import socket

import pytest

from orchestrator.cluster import nodes
from orchestrator.cluster.connection import connected
from orchestrator.cluster.nodes import version_differences
from wsol.errors import InputError

pytestmark = pytest.mark.usefixtures("in_the_checkout")


def test_differing_versions_are_named_with_the_remedy() -> None:
    here = {"python": "3.11.7", "torch": "2.15.0", "ray": "2.60.0"}
    assert version_differences("node", here, copy.copy(here)) is None
    told = version_differences("node", here, {"python": "3.11.7", "torch": "2.14.0"})
    assert (
        told is not None
        and "torch 2.14.0 instead of 2.15.0, ray missing instead of 2.60.0" in told
        and "constraints.txt" in told
    )
    assert "No module named 'wsol'" in str(
        version_differences("node", here, ImportError("...\nNo module named 'wsol'"))
    )


def test_nobody_listens_is_said_at_once() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # taken, but nobody listens
        with pytest.raises(InputError, match="no connection"), connected(f"127.0.0.1:{door.getsockname()[1]}"):
            pass


def test_nodes_of_a_rehearsal_have_different_names() -> None:
    """They are on one machine, and Ray gives them the ids `fff...f00001`, `fff...f00002`."""
    names = {
        nodes._name(
            {"NodeManagerHostname": "here", "NodeManagerAddress": "10.0.0.1", "NodeID": f"{'f' * 51}0000{last}"}
        )
        for last in range(3)
    }
    assert len(names) == 3
