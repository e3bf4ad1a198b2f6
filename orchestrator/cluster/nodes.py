"""The nodes of a cluster: their resources, what waits for them, and their versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from orchestrator.cluster.autoscaler import autoscaler_maximum

KIND = "accelerator_type:"
"""Begins the name of a custom resource of every node with GPUs of a kind, one unit each."""

REINSTALL = (
    "run the setup commands of clusters/*.yaml again (`ray up`), or install with the same constraints.txt on every node"
)


def alive_nodes() -> list[dict[str, Any]]:
    """Ray's record of every node of the cluster that this process is connected to."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def node_resources(accelerator_type: str | None = None) -> list[dict[str, float]]:
    """CPUs and GPUs of every node of the connected cluster, or of the nodes with a kind of GPU; empty if an autoscaler
    may add others."""
    if autoscaler_maximum():
        return []
    found = [dict(node["Resources"]) for node in alive_nodes()]
    return [node for node in found if accelerator_type is None or f"{KIND}{accelerator_type}" in node]


def what_waits_for_room() -> str | None:
    """The resources that Ray was asked for and cannot give at present, and those that are free; None if nothing
    waits."""
    import ray

    waiting = [
        group["bundles"].values() for group in ray.util.placement_group_table().values() if group["state"] == "PENDING"
    ]
    return shortage(waiting, ray.available_resources(), ray.cluster_resources()) if waiting else None


def shortage(waiting: Sequence[Iterable[dict[str, float]]], free: dict[str, float], totals: dict[str, float]) -> str:
    """A line with the bundles that the first waiting request asks for, and how much of each of their resources is
    free."""
    bundles = [{name: amount for name, amount in bundle.items() if amount} for bundle in waiting[0]]
    names = list(dict.fromkeys(name for bundle in bundles for name in bundle))
    asked = ", ".join(f"{sum(bundle.get(name, 0.0) for bundle in bundles):g} {name}" for name in names)
    has = ", ".join(f"{free.get(name, 0.0):g} of {totals.get(name, 0.0):g} {name}" for name in names)
    return f"{len(waiting)} x {asked} in {len(bundles)} bundle(s) asked for; free: {has}"


def on_every_node(function: Callable[..., Any], *arguments: Any, seconds: float = 120) -> dict[str, Any]:
    """Call a function once on each node, whether or not it is busy.

    Args:
        function: a function of an importable module.
        arguments: its arguments.
        seconds: how long to wait for the answers.

    Returns:
        node, as name and address -> what the function returned, or the exception.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote(num_cpus=0, max_retries=0)(function)
    nodes = {_name(node): node["NodeID"] for node in alive_nodes()}
    calls = {
        name: (
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(identity, soft=False)).remote(*arguments)
        )
        for name, identity in nodes.items()
    }
    ray.wait(list(calls.values()), num_returns=len(calls), timeout=seconds)
    return {name: _answer(call) for name, call in calls.items()}


def failures(answers: dict[str, Any]) -> list[str]:
    """The nodes that gave `on_every_node` no answer, each with the reason."""
    return [f"{node}: {last_line(answer)}" for node, answer in answers.items() if isinstance(answer, Exception)]


def _name(node: dict[str, Any]) -> str:
    """Host, address and the end of the id, in which the nodes of a rehearsal differ, whose ids begin alike."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][-6:]})"


def version_differences(node: str, here: dict[str, str], there: dict[str, str] | Exception) -> str | None:
    """The packages whose versions on a node differ from those of this process, in one line; None if all agree."""
    if isinstance(there, Exception):
        return (
            f"{node}: cannot run this code ({last_line(there)}); {REINSTALL}, and start from a job or a folder that"
            " every node sees"
        )
    differ = [
        f"{name} {there.get(name, 'missing')} instead of {version}"
        for name, version in here.items()
        if there.get(name) != version
    ]
    return f"{node}: {', '.join(differ)}; {REINSTALL}" if differ else None


def last_line(error: Exception) -> str:
    """The last line of a message that contains a whole traceback of another process."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _answer(call: Any) -> Any:
    import ray

    try:
        return ray.get(call, timeout=0)
    except Exception as error:
        return error
