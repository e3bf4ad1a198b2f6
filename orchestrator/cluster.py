"""Connect to Ray, here or elsewhere, and check that a trial fits before anything starts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator import provenance
from orchestrator.experiment import ResourcesConfig
from wsol.errors import InputError

KIND = "accelerator_type:"  # custom resource of every node with such GPUs, one unit each
SECONDS_TO_ANSWER = 10  # a port that is open takes a connection in far less
HEAD = (  # custom resource of the node that holds trial drivers: they must not take the CPUs their workers wait for
    "head"
)

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
ALONE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_AUTH_MODE": "token"}
SHARED = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900"}  # an autoscaler needs minutes for a machine

BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")  # `ray up` leaves the cluster's file there, on the head
MAXIMUM = "WSOL_CLUSTER_MAXIMUM"  # where there is no such file: JSON, such as {"CPU": 32, "GPU": 4}
REINSTALL = (
    "run the setup commands of clusters/*.yaml again (`ray up`), or install with the same constraints.txt on every node"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a trial takes and how many run at once.

    Attributes:
        workers: processes of one trial.
        cpus: of each.
        gpus: of each.
        concurrent: trials at the same time.
        machine: host, CPUs, GPUs and memory of the cluster, for the record.
        placement: of the workers of one trial over the nodes.
        accelerator_type: kind of GPU, as Ray names it; None: any.
    """

    workers: int
    cpus: int
    gpus: float
    concurrent: int
    machine: dict[str, Any]
    placement: str = "pack"
    accelerator_type: str | None = None

    def needs(self) -> dict[str, float]:
        """What one worker takes of a node, in Ray's words."""
        kind = {f"{KIND}{self.accelerator_type}": 0.001} if self.accelerator_type else {}
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {}), **kind}


def gpus_of_a_worker(resources: ResourcesConfig, available: dict[str, float]) -> float:
    """As configured; else one where there are GPUs."""
    return resources.gpus_per_worker if resources.gpus_per_worker is not None else float(available.get("GPU", 0.0) > 0)


def plan(
    resources: ResourcesConfig, trials: int, available: dict[str, float], nodes: Sequence[dict[str, float]] = ()
) -> Plan:
    """How many trials fit at once.

    Args:
        resources: as configured.
        trials: how many there will be at most.
        available: Ray's resource totals: CPU, GPU, memory in bytes.
        nodes: the same of every node, where all nodes are known: a worker must fit one of them.

    Raises:
        InputError: not even one trial fits; with the numbers.
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
    places = sum(_places(resources.cpus_per_worker, gpus_each, node) for node in nodes or [available])
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
    machine = {
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


def of_kind(resources: ResourcesConfig, totals: dict[str, float]) -> dict[str, float]:
    """Ray's totals with the GPUs of the wanted kind only; what an autoscaler may still start is counted whatever its
    kind.

    Raises:
        InputError: no node has such GPUs, and no autoscaler will start one.
    """
    if resources.accelerator_type is None or maximum():
        return totals
    found = nodes(resources.accelerator_type)
    if not found:
        kinds = ", ".join(name.removeprefix(KIND) for name in totals if name.startswith(KIND)) or "none"
        raise InputError(
            f"resources.accelerator_type: no node has GPUs of the kind {resources.accelerator_type!r}; there are"
            f" {kinds}"
        )
    return {**totals, "GPU": sum(node.get("GPU", 0.0) for node in found)}


def plan_there(resources: ResourcesConfig, trials: int, totals: dict[str, float]) -> Plan:
    """`plan` on the cluster that this process is connected to, with its kinds of GPU and its nodes; `totals` are those
    of `connected`.

    Raises:
        InputError: as `plan` does, or no node has the kind of GPU that is asked for.
    """
    return plan(resources, trials, of_kind(resources, totals), nodes(resources.accelerator_type))


def want(plan: Plan, trials: int) -> None:
    """Ask an autoscaler for room for some trials of one worker at once, and for no more: without it, it would learn of
    one waiting trial at a time.

    Trials with several workers ask for themselves: each Ray Train job says what it needs, and takes it back when it
    ends.
    """
    from ray.autoscaler.sdk import request_resources

    if plan.workers == 1:
        with contextlib.suppress(Exception):  # a hint: a cluster that can not take it is no reason to end a search
            request_resources(bundles=[plan.needs()] * min(trials, plan.concurrent))


def _places(cpus: int, gpus: float, node: dict[str, float]) -> int:
    """How many workers a node holds; Ray puts a fraction of a GPU on one GPU."""
    by_cpus, owned = int(node.get("CPU", 0.0) / cpus + 1e-9), node.get("GPU", 0.0)
    if not gpus:
        return by_cpus
    return min(by_cpus, int(owned) * int(1 / gpus + 1e-9) if gpus < 1 else int(owned / gpus))


def nodes(accelerator_type: str | None = None) -> list[dict[str, float]]:
    """CPUs and GPUs of every node of the cluster that this process is connected to, or of those with a kind of GPU;
    none where an autoscaler may add other ones."""
    import ray

    if maximum():
        return []
    found = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [node for node in found if accelerator_type is None or f"{KIND}{accelerator_type}" in node]


def scarce() -> str | None:
    """What Ray was asked for and can not give at this moment, and what is free; None where nothing waits."""
    import ray

    waiting = [
        group["bundles"].values() for group in ray.util.placement_group_table().values() if group["state"] == "PENDING"
    ]
    return shortage(waiting, ray.available_resources(), ray.cluster_resources()) if waiting else None


def shortage(waiting: Sequence[Iterable[dict[str, float]]], free: dict[str, float], totals: dict[str, float]) -> str:
    """One line: the bundles that the first of those who wait asks for, and what is free of each resource in them."""
    bundles = [{name: amount for name, amount in bundle.items() if amount} for bundle in waiting[0]]
    names = list(dict.fromkeys(name for bundle in bundles for name in bundle))
    asked = ", ".join(f"{sum(bundle.get(name, 0.0) for bundle in bundles):g} {name}" for name in names)
    has = ", ".join(f"{free.get(name, 0.0):g} of {totals.get(name, 0.0):g} {name}" for name in names)
    return f"{len(waiting)} x {asked} in {len(bundles)} bundle(s) asked for; free: {has}"


def local_resources() -> dict[str, float]:
    """CPUs and GPUs of this machine, in Ray's words, without starting Ray."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "CPU": float(len(os.sched_getaffinity(0))),
        "GPU": float(torch.cuda.device_count()),
        "memory": float(memory),
    }


@contextmanager
def connected(address: str | None, *, same_versions: bool = True) -> Iterator[dict[str, float]]:
    """Ray, quiet, for the time of the block; yields the resource totals of the cluster, grown as far as its autoscaler
    may.

    Args:
        address: of a running cluster, or None for one on this machine that ends with the block.
        same_versions: refuse a running cluster whose nodes hold other versions than this process.

    Raises:
        InputError: nothing answers at the address, the token is wrong, or versions differ.
    """
    for name, value in {**QUIET, **(ALONE if address is None else SHARED)}.items():
        os.environ.setdefault(name, value)
    if address is not None:
        use_token()
    import ray

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # which trials failed, and why, is told by us
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    if address is None:
        _start()
    else:
        _join(address)
    with contextlib.suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)  # Ray leaves its token readable by everybody
    try:
        if address is not None and same_versions:
            _require_same_versions()
        totals = ray.cluster_resources()
        yield {
            name: max(totals.get(name, 0.0), limit)
            for name, limit in {**totals, **(maximum() if address else {})}.items()
        }
    finally:
        ray.shutdown()


def use_token() -> None:
    """Ask with the token where there is one: a file alone does not make a client use it."""
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if named or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def maximum() -> dict[str, float]:
    """What the autoscaler of the cluster may start in all; empty where that is not known, as outside of its head."""
    if MAXIMUM in os.environ:
        return {name: float(amount) for name, amount in json.loads(os.environ[MAXIMUM]).items()}
    if BOOTSTRAP.expanduser().exists():
        return largest(yaml.safe_load(BOOTSTRAP.expanduser().read_text()))
    return {}


def largest(config: dict[str, Any]) -> dict[str, float]:
    """The most of each resource that the workers of a cluster file have together."""
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


def on_every_node(function: Callable[..., Any], *arguments: Any, seconds: float = 120) -> dict[str, Any]:
    """Call a function once on each node, whether or not it is busy.

    Args:
        function: of an importable module.
        arguments: of it.
        seconds: to wait for the answers.

    Returns:
        node, as name and address -> what the function returned, or the exception.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote(num_cpus=0, max_retries=0)(function)
    nodes = {_name(node): node["NodeID"] for node in ray.nodes() if node["Alive"]}
    calls = {
        name: (
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(identity, soft=False)).remote(*arguments)
        )
        for name, identity in nodes.items()
    }
    ray.wait(list(calls.values()), num_returns=len(calls), timeout=seconds)
    return {name: _answer(call) for name, call in calls.items()}


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})"


def differences(node: str, here: dict[str, str], there: dict[str, str] | Exception) -> str | None:
    """What a node has in other versions than this process, or None."""
    if isinstance(there, Exception):
        return (
            f"{node}: can not run this code ({last_line(there)}); {REINSTALL}, and start from a job or a folder that"
            " every node sees"
        )
    differ = [
        f"{name} {there.get(name, 'missing')} instead of {version}"
        for name, version in here.items()
        if there.get(name) != version
    ]
    return f"{node}: {', '.join(differ)}; {REINSTALL}" if differ else None


def last_line(error: Exception) -> str:
    """The end of a message that holds a whole traceback of another process."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _answer(call: Any) -> Any:
    import ray

    try:
        return ray.get(call, timeout=0)
    except Exception as error:
        return error


def _require_same_versions() -> None:
    here = provenance.versions()
    answers = on_every_node(provenance.versions)
    problems = [problem for node, there in answers.items() if (problem := differences(node, here, there))]
    if problems:
        raise InputError("versions differ between this process and the cluster's nodes:\n" + "\n".join(problems))


def _start() -> None:
    import ray

    local = local_resources()
    ray.init(
        address="local",
        num_cpus=int(local["CPU"]),
        num_gpus=int(local["GPU"]),
        resources={HEAD: 1000},
        include_dashboard=False,
        object_store_memory=256 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _require_answer(address: str) -> None:
    """Ray tries for a quarter of an hour where nobody listens."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise InputError(
            f"--address {address}: no connection ({error.strerror or error}); is the cluster up, and is the address"
            " right?"
        ) from None


def _join(address: str) -> None:
    import ray

    _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, ray.exceptions.AuthenticationError) as error:
        hint = "is the cluster up, is the address right, and is its token in RAY_AUTH_TOKEN or ~/.ray/auth_token?"
        raise InputError(f"--address {address}: no connection ({str(error).partition('. ')[0]}); {hint}") from None
    except RuntimeError as error:
        raise InputError(
            f"--address {address}: {error}; {REINSTALL}, or submit a job, which runs on the cluster: `launch.py submit`"
        ) from None
