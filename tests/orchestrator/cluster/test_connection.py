"""What is found out about a running cluster before anything is sent there, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import ray
import ray._raylet

from orchestrator.cluster import connection
from orchestrator.cluster.connection import connected
from wsol.errors import InputError

ADDRESS = "127.0.0.1:1"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cluster in which everything is well: what its nodes answer, and whom its control service refuses."""
    state: dict[str, Any] = {"answers": {"node-1": True}, "refuses": None, "joined": False}

    def ask(address: str) -> None:
        if state["refuses"]:
            raise state["refuses"]

    def on_every_node(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        return state["answers"] if function is connection.uses_token else {}

    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr(connection, "_require_answer", lambda address: None)
    monkeypatch.setattr(connection, "on_every_node", on_every_node)
    monkeypatch.setattr(ray._raylet, "GcsClient", ask)
    monkeypatch.setattr(ray, "init", lambda **settings: state.update(joined=True))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "shutdown", lambda: state.update(joined=False))
    return state


def refused() -> str:
    with pytest.raises(InputError) as caught, connected(ADDRESS):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cluster_that_uses_the_token_is_joined_and_left(cluster: dict[str, Any]) -> None:
    with connected(ADDRESS) as resources:
        assert resources["CPU"] == 2.0 and cluster["joined"]
    assert not cluster["joined"]


def test_a_cluster_without_a_token_is_told_before_any_trial(
    cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the calls of a process that has one and cannot call back."""
    cluster["answers"] = {"node-1": False, "node-2": ConnectionError("no answer")}
    assert f"--address {ADDRESS}: the cluster was started without a token" in refused() and not cluster["joined"]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with connected(ADDRESS):
        assert cluster["joined"]


def test_a_wrong_token_is_told_at_once(cluster: dict[str, Any]) -> None:
    cluster["refuses"] = ray.exceptions.AuthenticationError("InvalidAuthToken")
    assert f"--address {ADDRESS}: the cluster refuses the token" in refused() and not cluster["joined"]


def test_other_troubles_are_left_to_ray(cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**settings: Any) -> None:
        raise ConnectionError("nobody there. More")

    cluster["refuses"] = ValueError("another kind of address")
    monkeypatch.setattr(ray, "init", fail)
    assert "no connection (nobody there); is the cluster up" in refused()
