"""Rank, world, device and sums: the only file of `wsol` that talks to `torch.distributed`.

A process group is used if one exists, so the same code runs bare, under torchrun and under Ray Train.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wsol.errors import InputError


def rank() -> int:
    """This process's number in [0, world)."""
    return dist.get_rank() if _initialised() else 0


def world() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _initialised() else 1


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def device() -> torch.device:
    """The current GPU if there is one (the launcher has selected it), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def sum_over_workers(values: Tensor) -> Tensor:
    """Sum a tensor, of one shape and type on all workers, over them; every worker gets the result, on the tensor's
    device. Exact for integers."""
    if world() == 1:
        return values
    summed = values.to(device(), copy=True)
    dist.all_reduce(summed)
    return summed.to(values.device)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows (n, ...) of all workers in the order of the workers, each with its own n; every worker gets all of
    them."""
    if world() == 1:
        return rows
    counts = sum_over_workers(torch.eye(world(), dtype=torch.int64)[rank()] * len(rows)).tolist()
    before, mine = sum(counts[: rank()]), rows.new_zeros(sum(counts), *rows.shape[1:])
    mine[before : before + len(rows)] = rows
    return sum_over_workers(mine)  # one number and zeros: exact


def wrap(module: nn.Module) -> nn.Module:
    """Average gradients over the workers (DistributedDataParallel); one worker needs no wrapping.

    Buffers are not sent with every step: rank 0 never reads those of others, and all get its own when the epoch ends,
    see `broadcast_buffers`.
    """
    if world() == 1:
        return module
    place = next(module.parameters()).device
    return nn.parallel.DistributedDataParallel(
        module,
        device_ids=[place] if place.type == "cuda" else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


def broadcast_buffers(module: nn.Module) -> None:
    """Give every worker rank 0's buffers (batch-norm statistics differ by worker), so that all evaluate the same
    network."""
    if world() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def barrier() -> None:
    """Wait for all workers."""
    if world() > 1:
        dist.barrier()


@contextmanager
def agreed() -> Iterator[None]:
    """If one worker raises InputError in the block, all do, because the others would wait for it.

    Raises:
        InputError: the error of the first worker that has one, on all workers; with several workers, it names the node.
    """
    failure: InputError | None = None
    try:
        yield
    except InputError as error:
        failure = error
    if world() == 1:
        if failure is not None:
            raise failure
        return
    node = f"{socket.gethostname()}: "
    failures: list[Any] = [None] * world()
    dist.all_gather_object(failures, failure and node + str(failure).removeprefix(node))
    if first := next(filter(None, failures), None):
        raise InputError(first) from failure


@contextmanager
def process_group_from_environment() -> Iterator[None]:
    """Join the group that torchrun describes in the environment; a plain process stays alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()
