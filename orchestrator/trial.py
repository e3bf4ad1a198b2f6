"""One trial on Ray: in the Tune actor for one worker, through a Ray Train job for several. The training itself is
`wsol.training.train`."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.hang import Watchdog
from orchestrator.overlays import Overlays
from orchestrator.study import Task
from orchestrator.workplace import ERROR, Workplace, scratch, workplace
from wsol.checkpoint import Record
from wsol.config import TrainConfig
from wsol.errors import Diverged, InputError

if TYPE_CHECKING:
    from orchestrator.cluster import Plan
    from wsol.method import Method

Report = Callable[[dict[str, Any]], None]


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


def run_in_actor(wire: dict[str, Any]) -> None:
    """Tune function of a trial with one worker."""
    import ray
    from ray import tune

    gpu = wire["needs"].get("GPU", 0)
    if 0 < gpu < 1:
        _share_gpu(gpu)
    node = ray.get_runtime_context().get_node_id()
    run(wire, lambda values: tune.report({**values, "node": node}))


def run_as_train_job(wire: dict[str, Any]) -> None:
    """Tune function of a trial with several workers: start a Ray Train job and relay its reports.

    It must not hold the CPUs that its own workers wait for, so it is scheduled on a resource of the head node instead.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from orchestrator.network import RaysTorchConfig

    gpu = "GPU" in wire["needs"]
    with scratch() if wire["stores"] else nullcontext(Path(wire["folder"]) / "ray") as state:
        TorchTrainer(
            run_in_train_worker,
            train_loop_config=wire,
            scaling_config=ScalingConfig(
                num_workers=wire["workers"],
                use_gpu=gpu,
                resources_per_worker=wire["needs"],
                placement_strategy=wire["placement"].upper(),
            ),
            torch_config=RaysTorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=RunConfig(
                name=f"trial-{wire['number']:04d}",
                storage_path=str(state),
                callbacks=[TuneReportCallback()],
                failure_config=FailureConfig(max_failures=wire["max_failures"]),
            ),
        ).fit()


def run_in_train_worker(wire: dict[str, Any]) -> None:
    """What each worker of a Ray Train job does."""
    import ray.train
    import ray.train.torch
    import torch

    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    run(wire, ray.train.report)


def _share_gpu(part: float) -> None:
    """Ray shares out a GPU, but not its memory; a tenth is for what every process needs besides."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(0.9 * part)


def run(wire: dict[str, Any], report: Report) -> None:
    """Train, reporting every epoch and at the end the outcome.

    A trial that can not succeed (diverged, unusable input) ends with a report that says so: raising would start it
    again. Anything else is raised, with its traceback kept in the trial's folder.
    """
    started = time.perf_counter()
    worker = f"{socket.gethostname()}:{os.getpid()}"
    from wsol import distributed

    try:
        with ExitStack() as stack:
            with distributed.agreed():
                place = stack.enter_context(workplace(wire))
            history = _train_in(place, wire, lambda record: report({**record, "worker": worker}))
    except (Diverged, InputError) as error:
        report({"failure": _with_node(str(error), wire), "seconds": time.perf_counter() - started, "worker": worker})
    else:
        report({"history": json.dumps(history), "seconds": time.perf_counter() - started, "worker": worker})


def _train_in(place: Workplace, wire: dict[str, Any], report: Callable[[Record], None]) -> list[Record]:
    """Train in a folder of this node; what an epoch left is safe before it is reported."""
    from wsol import distributed
    from wsol.training import train

    config = TrainConfig.model_validate_json(wire["config"], strict=False)

    def after_epoch(record: Record) -> None:
        with watchdog.resting(record["seconds"]):
            place.save(first=distributed.is_main())
            report(record)

    watchdog = Watchdog(place.folder, wire["hang_minutes"], wire["longest_epoch"], distributed.rank())
    try:
        with watchdog, EpochLog(place.folder, config, writes=distributed.is_main()) as log:
            history = train(config, place.folder, wire["objective"], after_epoch, log)
    except Exception as error:
        if not isinstance(error, (Diverged, InputError)):
            (place.folder / ERROR).write_text(traceback.format_exc())
        place.save(first=distributed.is_main())
        raise
    place.save(first=distributed.is_main())
    return history


def _with_node(reason: str, wire: dict[str, Any]) -> str:
    """A reason with the node that it is from, unless that is the driver's, or several workers have agreed on it, which
    names the node."""
    node = f"{socket.gethostname()}: "
    return reason if wire["host"] == socket.gethostname() or wire["workers"] > 1 else node + reason.removeprefix(node)


class EpochLog:
    """TensorBoard scalars of one trial and its maps of a few fixed images, in its folder.

    Args:
        folder: of the trial; `config.yaml` is written there too.
        config: of the trial.
        writes: False on all workers but one.
    """

    def __init__(self, folder: Path, config: TrainConfig, *, writes: bool) -> None:
        self.writer = None
        self.overlays = Overlays(config)
        if writes:
            from torch.utils.tensorboard import SummaryWriter

            from orchestrator.runs import to_yaml

            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(to_yaml(config.model_dump(mode="json")))
            self.writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def __enter__(self) -> EpochLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.close()  # type: ignore[no-untyped-call]

    def __call__(self, method: Method, record: Record) -> None:
        """Write every value of an epoch, and draw its maps."""
        self.maps(method, record)
        self.scalars(record)

    def scalars(self, record: Record) -> None:
        """Write every value of an epoch."""
        if self.writer is not None:
            for name, value in record.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, int(record["epoch"]))  # type: ignore[no-untyped-call]
            self.writer.flush()  # type: ignore[no-untyped-call]

    def maps(self, method: Method, record: Record) -> None:
        """Draw the maps of an epoch."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self.writer is not None:
            pictures = self.overlays(method, record)
            images = (
                (f"maps/{name}", Summary.Image(encoded_image_string=jpeg, height=side, width=side))
                for name, jpeg, side in pictures
            )
            values = [Summary.Value(tag=tag, image=image) for tag, image in images]
            self.writer._get_file_writer().add_summary(Summary(value=values), int(record["epoch"]))  # type: ignore[no-untyped-call]
