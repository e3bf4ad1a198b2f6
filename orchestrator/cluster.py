"""Connect to Ray, here or elsewhere, and check that a trial fits before anything starts."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.experiment import ResourcesConfig
from wsol.errors import InputError

HEAD = "head"  # custom resource of the node that holds trial drivers: they must not take the CPUs their workers wait for

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_AUTH_MODE": "token",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a trial takes and how many run at once.

    Attributes:
        workers: processes of one trial.
        cpus: of each.
        gpus: of each.
        concurrent: trials at the same time.
        machine: host, CPUs, GPUs and memory of the cluster, for the record.
    """

    workers: int
    cpus: int
    gpus: float
    concurrent: int
    machine: dict[str, Any]


def plan(resources: ResourcesConfig, trials: int, available: dict[str, float]) -> Plan:
    """How many trials fit at once.

    Args:
        resources: as configured.
        trials: how many there will be at most.
        available: Ray's resource totals: CPU, GPU, memory in bytes.

    Raises:
        InputError: not even one trial fits; with the numbers.
    """
    cpus, gpus = available.get("CPU", 0.0), available.get("GPU", 0.0)
    gpus_each = resources.gpus_per_worker if resources.gpus_per_worker is not None else float(gpus > 0)
    needs = {"CPU": resources.workers * resources.cpus_per_worker, "GPU": resources.workers * gpus_each}
    short = [f"{need:g} {name} where there are {available.get(name, 0.0):g}" for name, need in needs.items() if need > available.get(name, 0.0)]
    if short:
        raise InputError(
            f"resources: one trial with {resources.workers} worker(s) needs {' and '.join(short)}; "
            "lower resources.workers, cpus_per_worker or gpus_per_worker, or use a larger cluster"
        )
    fits = int(min(cpus // needs["CPU"], gpus // needs["GPU"] if needs["GPU"] else cpus))
    concurrent = min(resources.concurrent_trials or fits, fits, trials)
    machine = {"host": socket.gethostname(), "cpus": cpus, "gpus": gpus, "memory_gb": round(available.get("memory", 0.0) / 1e9, 1)}
    return Plan(resources.workers, resources.cpus_per_worker, gpus_each, concurrent, machine)


def local_resources() -> dict[str, float]:
    """CPUs and GPUs of this machine, in Ray's words, without starting Ray."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"CPU": float(len(os.sched_getaffinity(0))), "GPU": float(torch.cuda.device_count()), "memory": float(memory)}


@contextmanager
def connected(address: str | None) -> Iterator[dict[str, float]]:
    """Ray, quiet, for the time of the block; yields the resource totals of the cluster.

    Args:
        address: of a running cluster, or None for one on this machine that ends with the block.

    Raises:
        InputError: nothing answers at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    if address is None:
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
    else:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            hint = "is the cluster up, is the address right, and is its token in RAY_AUTH_TOKEN or ~/.ray/auth_token?"
            raise InputError(f"--address {address}: no connection ({error}); {hint}") from None
    with contextlib.suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)  # Ray leaves its token readable by everybody
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()
