"""Two processes that train together, on one machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import torch.multiprocessing


def run_two_workers(worker: Callable[..., None], *arguments: object) -> None:
    """Run `worker(rank, *arguments)` in two processes to their ends.

    They are forked from a server that has imported torch once for all tests of this process: a start of Python with
    torch takes longer than what most of them do.

    Raises:
        torch.multiprocessing.ProcessRaisedException: one of them failed.
    """
    multiprocessing.set_forkserver_preload(["torch._dynamo"])
    torch.multiprocessing.start_processes(  # type: ignore[attr-defined, no-untyped-call]
        worker, arguments, nprocs=2, start_method="forkserver"
    )
