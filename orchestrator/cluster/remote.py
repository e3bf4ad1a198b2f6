"""Calls a function on a node that has the resources of a worker."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from orchestrator.cluster.plan import Plan
from orchestrator.cluster.raylet import BETWEEN_SECONDS, raylet_watched
from wsol.errors import InputError

P = ParamSpec("P")
Answer = TypeVar("Answer")


def on_worker_node(plan: Plan, function: Callable[P, Answer], *, same_folders: bool = True) -> Callable[P, Answer]:
    """Wrap a function so that it is called on a node with the resources of a worker, since the driver's node may have
    no GPU.

    Relative paths in its arguments have the same meaning there. Its exceptions are raised here.

    Args:
        plan: the resources of a worker.
        function: a function of an importable module, or a partial of one; its arguments and result are pickled.
        same_folders: whether all nodes see the working directory of this process. If not, the function runs in whatever
            directory the node uses.

    Raises:
        InputError: when called, if `same_folders` and the node has no such directory.
        RunFailed: when called, Ray has died.
    """
    import ray

    needs = plan.needs()
    options = {"num_cpus": needs.pop("CPU"), "num_gpus": needs.pop("GPU", 0), "resources": needs, "max_retries": 1}
    remote: Any = ray.remote(**options)(call_in_directory)

    def call_there(*arguments: P.args, **named: P.kwargs) -> Answer:
        try:
            call = remote.remote(Path.cwd(), same_folders, function, *arguments, **named)
            with raylet_watched() as watch:
                while not ray.wait([call], timeout=BETWEEN_SECONDS)[0]:
                    watch.require_alive()
            answer: Answer = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        return answer

    return call_there


def call_in_directory(
    directory: Path, required: bool, function: Callable[P, Answer], /, *arguments: P.args, **named: P.kwargs
) -> Answer:
    """Call a function in a directory, see `working_directory`."""
    with working_directory(directory, required=required):
        return function(*arguments, **named)


@contextlib.contextmanager
def working_directory(directory: Path, *, required: bool) -> Iterator[None]:
    """Work in the directory where the search was started, for the time of the block, so that relative paths keep their
    meaning.

    Args:
        directory: where the search was started.
        required: False: a node that has no such directory stays where it is.

    Raises:
        InputError: the directory is required and this node does not see it.
    """
    if directory.is_dir():
        with contextlib.chdir(directory):
            yield
    elif required:
        raise folder_not_seen(directory)
    else:
        yield


def folder_not_seen(folder: Path) -> InputError:
    """The error that this node does not see a folder that it should."""
    return InputError(
        f"{socket.gethostname()}: {folder}: this node does not see this folder, in which the search runs; start it in a"
        " folder that every node sees (submit --storage DIR), or give the results a store:"
        " resources.storage=s3://bucket/prefix"
    )
