"""Two workers end with the same network, whatever the method and its base."""

from __future__ import annotations

import datetime
import traceback
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from wsol import distributed
from wsol.contract.networks import make, total
from wsol.contract.stacks import RATE, every_long_stack, make_batch
from wsol.contract.workers import run_two_workers
from wsol.types import Batch, Progress


def train_three_steps(name: str, backbone: str, rank: int) -> dict[str, Tensor]:
    """Every parameter and buffer, batch norm's statistics apart: those are rank 0's, sent when an epoch
    ends."""
    method = make(name, backbone).train()
    wrapped = distributed.wrap(method)
    optimizer = torch.optim.SGD(method.parameters(), lr=RATE)
    whole = make_batch()
    assert whole.targets is not None
    mine = slice(rank, None, 2)
    batch = Batch(whole.images[mine], whole.labels[mine], whole.image_ids[mine], targets=whole.targets[mine])
    torch.manual_seed(rank)
    for step in range(3):
        optimizer.zero_grad()
        total(wrapped(batch, Progress(step + 1, 3, step, 3))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {
        key: value for key, value in method.state_dict().items() if not key.endswith(("running_mean", "running_var"))
    }


def worker(rank: int, folder: str, stacks: list[tuple[str, str]]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    for name, backbone in stacks:
        try:
            result: object = train_three_steps(name, backbone, rank)
        except Exception:
            result = traceback.format_exc()
        torch.save(result, Path(folder) / f"{name}_{backbone}_{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both workers train every stack that is tested in this run, because starting them takes longer than training."""
    tests = [item for item in request.session.items if "two_workers" in getattr(item, "fixturenames", ())]
    stacks = [(params["name"], params["backbone"]) for params in (item.callspec.params for item in tests)]  # type: ignore[attr-defined]
    folder = tmp_path_factory.mktemp("two_workers")
    run_two_workers(worker, str(folder), stacks)
    return folder


@every_long_stack
def test_two_workers_end_with_the_same_network(name: str, backbone: str, two_workers: Path) -> None:
    paths = [two_workers / f"{name}_{backbone}_{rank}.pt" for rank in range(2)]
    first, second = (torch.load(path, weights_only=True) for path in paths)
    for path in paths:
        path.unlink()  # hundreds of megabytes
    assert isinstance(first, dict), first
    assert isinstance(second, dict), second
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    start = make(name, backbone).state_dict()
    assert any(not torch.equal(first[key], start[key]) for key in first)
