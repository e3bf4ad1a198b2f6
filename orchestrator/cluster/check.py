"""The verb `cluster check`. A running cluster is checked from every node: versions, GPUs, disk, clock, storage,
all-reduce."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from orchestrator.cluster.check_file import check_file
from orchestrator.cluster.connection import connected
from orchestrator.cluster.findings import Finding, show
from orchestrator.cluster.nodes import alive_nodes, failures, last_line, on_every_node, version_differences
from orchestrator.console import PlainConsole
from orchestrator.runs.provenance import versions
from orchestrator.runs.store import probe_store
from wsol import plugins
from wsol.files import is_file

FREE_GB = 20  # of disk: a checkpoint of a search and the object store want room


CLOCK_SECONDS = 2.0  # apart: trials record when they started and ended


NUMBERS = 2**22  # of the all-reduced tensor, float32: 16 MiB


SECONDS_TO_MEET = 60  # seconds for an all-reduce


def check_cluster(target: str, storage: str | None) -> None:
    """Print what is right and wrong with a cluster file or a running cluster.

    Args:
        target: a file, or the address of a cluster.
        storage: for a running cluster, a folder that every node should see, or the address of an object store.

    Raises:
        InputError: something is wrong.
    """
    names_file = Path(target).suffix in (".yaml", ".yml") or is_file(Path(target))
    findings = check_file(Path(target)) if names_file else check_address(target, storage)
    show(target, findings, PlainConsole())


def check_address(address: str, storage: str | None) -> list[Finding]:
    """Check a running cluster.

    Args:
        address: the address of the cluster, or `auto` on one of its nodes.
        storage: folder that every node should see, or address of an object store; None: not checked.

    Raises:
        InputError: nothing answers.
    """
    with connected(address, same_versions=False) as totals:
        further = plugins.bringing()
        facts = on_every_node(node_facts, storage, further)
        sizes = ", ".join(f"{totals.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
        findings = [Finding("cluster", "ok", f"{len(facts)} node(s); at most {sizes}")]
        for node, answer in facts.items():
            findings += _node_findings(node, answer, further)
        findings += _clock_findings()
        if storage:
            findings.append(_store_finding(storage) if "://" in storage else _storage_finding(storage))
        return [*findings, *_all_reduce_findings()]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The facts that a node reports about itself.

    Attributes:
        versions: package -> version, and Python's.
        cpus: how many the machine has.
        gpus: their names.
        free_gb: folder -> free space in GB (10^9 bytes).
    """

    versions: dict[str, str]
    cpus: int
    gpus: list[str]
    free_gb: dict[str, float]


def node_facts(storage: str | None, further: Sequence[str]) -> NodeFacts:
    """The facts of the node that this runs on.

    Args:
        storage: a folder that every node should see; anything else is ignored.
        further: packages whose versions are asked for too: those that bring plugins.
    """
    import torch

    places = [place for place in (tempfile.gettempdir(), storage) if place and Path(place).is_dir()]
    return NodeFacts(
        versions(further),
        os.cpu_count() or 0,
        [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        {place: round(shutil.disk_usage(place).free / 1e9, 1) for place in places},
    )


def node_clock() -> float:
    """Seconds since the epoch by the node's clock."""
    return time.time()


def _node_findings(node: str, facts: NodeFacts | Exception, further: Sequence[str]) -> Iterator[Finding]:
    ours = versions(further)
    if isinstance(facts, Exception):
        yield Finding(node, "wrong", str(version_differences(node, ours, facts)))
        return
    problem = version_differences(node, ours, facts.versions)
    cards = ", ".join(facts.gpus) or "no GPU"
    packages = " ".join(
        f"{name} {facts.versions[name]}" for name in ("python", "ray", "torch", *further) if name in facts.versions
    )
    yield Finding(node, "wrong" if problem else "ok", problem or f"{facts.cpus} CPUs, {cards}; {packages}")
    for place, free in facts.free_gb.items():
        yield Finding(f"{node}: disk", "ok" if free >= FREE_GB else "note", f"{free:g} GB free in {place}")


def _clock_findings() -> Iterator[Finding]:
    """The offset of each clock from the driver's. The round trip bounds the error, so the fastest of a few counts."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(3):
        started = time.time()
        answers = on_every_node(node_clock)
        trip = time.time() - started
        for node, clock in answers.items():
            if isinstance(clock, float):
                best[node] = min(best.get(node, (trip, 1e9)), (trip, clock - started - trip / 2))
    for node, (trip, offset) in best.items():
        late = abs(offset) > CLOCK_SECONDS + trip / 2
        yield Finding(
            f"{node}: clock",
            "wrong" if late else "ok",
            f"{offset:+.2f} s from here, +/- {trip / 2:.2f}" + ("; run an NTP client" * late),
        )


def _storage_finding(storage: str) -> Finding:
    """Check that every node reads a word that this process wrote, and that this process reads every node's word."""
    folder = Path(storage) / f".wsol-check-{uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / "word").write_text(folder.name)
        answers = on_every_node(leave_signature, str(folder))
        blind = failures(answers)
        signed = sum(
            (folder / str(answer)).exists() for answer in answers.values() if not isinstance(answer, Exception)
        )
    except OSError as error:
        return Finding("storage", "wrong", f"{storage}: this process cannot write there ({error})")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if blind or signed < len(answers):
        return Finding(
            "storage",
            "wrong",
            f"{storage}: mount the same folder on every node; {'; '.join(blind) or 'some write elsewhere'}",
        )
    return Finding("storage", "ok", f"{storage}: every node reads and writes it")


def _store_finding(address: str) -> Finding:
    """Check that every node can write to an object store and read back what it wrote."""
    answers = on_every_node(probe_store, address)
    blind = failures(answers)
    return Finding(
        "storage", "wrong" if blind else "ok", "; ".join(blind) or f"{address}: every node reads and writes it"
    )


def leave_signature(folder: str) -> str:
    """Leave a file in a folder that holds the right word; returns its name."""
    place = Path(folder)
    if (place / "word").read_text() != place.name:
        raise OSError(f"{folder}: holds something else")
    name = uuid4().hex
    (place / name).write_text(socket.gethostname())
    return name


def _all_reduce_findings() -> Iterator[Finding]:

    nodes = {node["NodeID"]: node["Resources"] for node in alive_nodes()}
    with_cpus = [node for node, resources in nodes.items() if resources.get("CPU", 0) > 0]
    if len(with_cpus) < 2:
        told = f"{len(with_cpus)} node(s) with CPUs are up: there is nothing to reduce across"
        yield Finding("all-reduce", "note", told)
        return
    yield _all_reduce("gloo", with_cpus)
    with_gpus = [node for node in with_cpus if nodes[node].get("GPU", 0) > 0]
    if len(with_gpus) > 1:
        yield _all_reduce("nccl", with_gpus)


def _all_reduce(backend: str, nodes: list[str]) -> Finding:
    """Run an all-reduce of one process on each of the nodes with these ids. The processes take no CPU or GPU from Ray,
    so that a busy cluster can be checked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    kind: Any = ray.remote(num_cpus=0)(Rank)
    ranks = [
        kind.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes
    ]
    master = "every port"
    try:
        master = ray.get(ranks[0].free_address.remote(), timeout=SECONDS_TO_MEET)
        seconds = ray.get(
            [rank.all_reduce.remote(index, len(ranks), master, backend) for index, rank in enumerate(ranks)],
            timeout=2 * SECONDS_TO_MEET,
        )
    except Exception as error:
        hint = f"is {master} open between the nodes? With several networks set {backend.upper()}_SOCKET_IFNAME"
        return Finding(f"all-reduce, {backend}", "wrong", f"{last_line(error)}; {hint}")
    finally:
        for rank in ranks:
            ray.kill(rank)
    return Finding(
        f"all-reduce, {backend}",
        "ok",
        f"{len(ranks)} nodes, {NUMBERS * 4 / 2**20:g} MiB in {max(seconds) * 1000:.0f} ms",
    )


class Rank:
    """One process of an all-reduce."""

    def free_address(self) -> str:
        """An address at which the other processes can connect to this one."""
        import ray

        with socket.socket() as door:
            door.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{door.getsockname()[1]}"

    def all_reduce(self, rank: int, world: int, master: str, backend: str) -> float:
        """Run two all-reduces, the first of which opens the connections; returns the seconds of the second.

        Raises:
            RuntimeError: the sum is wrong, or the other processes did not connect.
        """
        from datetime import timedelta

        import torch
        from torch import distributed

        from orchestrator.cluster.network import use_rays_interface

        use_rays_interface()
        distributed.init_process_group(
            backend,
            init_method=f"tcp://{master}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=SECONDS_TO_MEET),
        )
        try:
            for _ in range(2):
                tensor = torch.full((NUMBERS,), float(rank + 1), device="cuda:0" if backend == "nccl" else "cpu")
                started = time.perf_counter()
                distributed.all_reduce(tensor)
                total = float(tensor[-1])  # waits for the GPU
                seconds = time.perf_counter() - started
        finally:
            distributed.destroy_process_group()
        if total != world * (world + 1) / 2:
            raise RuntimeError(f"{backend} summed to {total}")
        return seconds
