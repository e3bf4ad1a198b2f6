"""Plans how many trials run at once on a cluster, and the resources of each."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cluster.autoscaler import autoscaler_maximum
from orchestrator.cluster.nodes import KIND, node_resources
from orchestrator.experiment.model import ResourcesConfig
from wsol.errors import InputError

HEAD = "head"
"""Custom resource of the node that runs the drivers of trials, which must not take the CPUs that their workers wait
for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The resources of a trial, and how many trials run at once.

    Attributes:
        workers: number of processes that train one trial.
        cpus: CPU cores of each worker.
        gpus: GPUs of each worker.
        concurrent: number of trials that run at the same time.
        machine: host, CPUs, GPUs and memory of the cluster, for the record.
        placement: how the workers of one trial are spread over the nodes.
        accelerator_type: kind of GPU, as Ray names it; None: any.
    """

    workers: int
    cpus: int
    gpus: float
    concurrent: int
    machine: dict[str, str | float]
    placement: str = "pack"
    accelerator_type: str | None = None

    def needs(self) -> dict[str, float]:
        """The resources that one worker takes of a node, by Ray's names."""
        kind = {f"{KIND}{self.accelerator_type}": 0.001} if self.accelerator_type else {}
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {}), **kind}


def gpus_of_a_worker(resources: ResourcesConfig, available: dict[str, float]) -> float:
    """GPUs of a worker: as configured, else one if there are GPUs."""
    return resources.gpus_per_worker if resources.gpus_per_worker is not None else float(available.get("GPU", 0.0) > 0)


def plan_trials(
    resources: ResourcesConfig, trials: int, available: dict[str, float], nodes: Sequence[dict[str, float]] = ()
) -> Plan:
    """How many trials fit at once.

    Args:
        resources: the resources as configured.
        trials: how many there will be at most.
        available: Ray's resource totals: CPU, GPU, memory in bytes.
        nodes: the same totals for every node, if all nodes are known; a worker must fit on one of them.

    Raises:
        InputError: not even one trial fits; the message has the numbers.
    """
    cpus, gpus = available.get("CPU", 0.0), available.get("GPU", 0.0)
    gpus_each = gpus_of_a_worker(resources, available)
    needs = {"CPU": resources.workers * resources.cpus_per_worker, "GPU": resources.workers * gpus_each}
    short = [
        f"{need:g} {name} where there are {available.get(name, 0.0):g}"
        for name, need in needs.items()
        if need > available.get(name, 0.0)
    ]
    if short:
        raise InputError(
            f"resources: one trial with {resources.workers} worker(s) needs {' and '.join(short)}; "
            "lower resources.workers, cpus_per_worker or gpus_per_worker, or use a larger cluster"
        )
    places = sum(_workers_that_fit(resources.cpus_per_worker, gpus_each, node) for node in nodes or [available])
    if places < resources.workers:
        largest = ", ".join(
            f"{node.get('GPU', 0.0):g} GPU + {node.get('CPU', 0.0):g} CPU" for node in nodes or [available]
        )
        raise InputError(
            f"resources: each of the {resources.workers} worker(s) of a trial needs {gpus_each:g} GPU +"
            f" {resources.cpus_per_worker} CPU on one node, and there is room for {places} on: {largest}; lower"
            " resources.cpus_per_worker or gpus_per_worker, or use larger nodes"
        )
    fits = places // resources.workers
    concurrent = min(resources.concurrent_trials or fits, fits, trials)
    machine: dict[str, str | float] = {
        "host": socket.gethostname(),
        "cpus": cpus,
        "gpus": gpus,
        "memory_gb": round(available.get("memory", 0.0) / 1e9, 1),
    }
    return Plan(
        resources.workers,
        resources.cpus_per_worker,
        gpus_each,
        concurrent,
        machine,
        resources.placement,
        resources.accelerator_type,
    )


def totals_of_kind(resources: ResourcesConfig, totals: dict[str, float]) -> dict[str, float]:
    """Ray's totals, counting only GPUs of the requested kind.

    GPUs that an autoscaler may still start are counted whatever their kind.

    Raises:
        InputError: no node has such GPUs, and no autoscaler will start one.
    """
    if resources.accelerator_type is None or autoscaler_maximum():
        return totals
    found = node_resources(resources.accelerator_type)
    if not found:
        kinds = ", ".join(name.removeprefix(KIND) for name in totals if name.startswith(KIND)) or "none"
        raise InputError(
            f"resources.accelerator_type: no node has GPUs of the kind {resources.accelerator_type!r}; there are"
            f" {kinds}"
        )
    return {**totals, "GPU": sum(node.get("GPU", 0.0) for node in found)}


def plan_on_cluster(resources: ResourcesConfig, trials: int, totals: dict[str, float]) -> Plan:
    """`plan` on the cluster that this process is connected to, with its kinds of GPU and its nodes; `totals` are those
    of `connected`.

    Raises:
        InputError: see `plan`; or no node has the requested kind of GPU.
    """
    return plan_trials(resources, trials, totals_of_kind(resources, totals), node_resources(resources.accelerator_type))


def request_room(plan: Plan, trials: int) -> None:
    """Ask an autoscaler for room for a number of one-worker trials, and no more. Otherwise it would see only one
    waiting trial at a time.

    Trials with several workers ask by themselves: each Ray Train job requests what it needs, and withdraws the request
    when it ends.
    """
    from ray.autoscaler.sdk import request_resources

    if plan.workers == 1:
        with contextlib.suppress(Exception):  # a hint: a cluster that cannot take it is no reason to end a search
            request_resources(bundles=[plan.needs()] * min(trials, plan.concurrent))


def _workers_that_fit(cpus: int, gpus: float, node: dict[str, float]) -> int:
    """How many workers a node holds; Ray puts a fraction of a GPU on one GPU."""
    by_cpus, owned = int(node.get("CPU", 0.0) / cpus + 1e-9), node.get("GPU", 0.0)
    if not gpus:
        return by_cpus
    return min(by_cpus, int(owned) * int(1 / gpus + 1e-9) if gpus < 1 else int(owned / gpus))


def local_resources() -> dict[str, float]:
    """CPUs and GPUs of this machine, by Ray's names, without starting Ray."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "CPU": float(len(os.sched_getaffinity(0))),
        "GPU": float(torch.cuda.device_count()),
        "memory": float(memory),
    }
