"""What is sent to the process that trains a trial."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.study.task import Task

if TYPE_CHECKING:
    from orchestrator.cluster.plan import Plan


def to_wire(task: Task, plan: Plan, stores: Sequence[str] = ()) -> dict[str, Any]:
    """A task as plain values that travel to another process. The search's working directory goes along: relative paths
    start there.

    Args:
        task: what to train.
        plan: what it takes.
        stores: address of its results and, after it, of those of the failed trials that it tries again; empty: all
            nodes see its folder.
    """
    return {
        "number": task.number,
        "config": task.config.model_dump_json(),
        "folder": str(task.folder.absolute()),
        "objective": task.objective,
        "directory": str(Path.cwd()),
        "host": socket.gethostname(),
        "workers": plan.workers,
        "needs": plan.needs(),
        "placement": plan.placement,
        "max_failures": task.study.max_failures,
        "hang_minutes": task.study.hang_minutes,
        "longest_epoch": task.longest_epoch,
        "stores": list(stores),
    }
