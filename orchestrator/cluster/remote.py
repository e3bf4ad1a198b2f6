"""Call a function on a node that has what a worker needs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.cluster.plan import Plan
from orchestrator.runs import names
from orchestrator.runs.store import Mirror
from wsol.errors import InputError


def on_worker_node(plan: Plan, function: Measure, mirror: Mirror | None = None) -> Measure:
    """Call a function on a node that has what a worker needs: the driver's node may have no GPU, and the others may not
    see the run folder.

    Args:
        plan: what a worker needs.
        function: of a request that names a `folder`.
        mirror: of the run folder, through which `best/` travels; None: all nodes see it.
    """
    import ray

    needs = plan.needs()
    options = {"num_cpus": needs.pop("CPU"), "num_gpus": needs.pop("GPU", 0), "resources": needs, "max_retries": 1}
    remote: Any = ray.remote(**options)(function)

    def measure_there(request: dict[str, Any]) -> dict[str, Any]:
        here = {"folder": str(Path(request["folder"]).absolute()), "directory": str(Path.cwd())}
        if mirror:
            mirror.push(lambda name: name.startswith(f"{names.WINNER}/"))
            here["store"] = mirror.address
        try:
            measured: dict[str, Any] = ray.get(remote.remote({**request, **here}))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        if mirror:
            mirror.pull(part=names.WINNER)
        return measured

    return measure_there


Measure = Callable[[dict[str, Any]], dict[str, Any]]
"""Runs `measure` somewhere: here, or on a node with a GPU."""


def enter_directory(directory: str, *, required: bool) -> None:
    """Go where the search was started, so that relative paths mean the same; a node that has no such folder can only
    stay where it is."""
    if Path(directory).is_dir():
        os.chdir(directory)
    elif required:
        raise folder_not_seen(Path(directory))


def folder_not_seen(folder: Path) -> InputError:
    """This node does not see a folder that it should."""
    return InputError(
        f"{socket.gethostname()}: {folder}: this node does not see this folder, in which the search runs; start it in a"
        " folder that every node sees (submit --storage DIR), or give the results a store:"
        " resources.storage=s3://bucket/prefix"
    )
