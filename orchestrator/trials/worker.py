"""One trial on Ray: in the Tune actor for one worker, through a Ray Train job for several. The training itself is
`wsol.training.train`."""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from orchestrator.runs import names
from orchestrator.runs.scratch import scratch
from orchestrator.study.watchdog import Watchdog
from orchestrator.trials.epoch_log import EpochLog
from orchestrator.trials.workplace import Workplace, open_workplace
from wsol.checkpoint import Record
from wsol.config import TrainConfig
from wsol.errors import Diverged, InputError

Report = Callable[[dict[str, Any]], None]


def run_in_actor(wire: dict[str, Any]) -> None:
    """Tune function of a trial with one worker."""
    import ray
    from ray import tune

    gpu = wire["needs"].get("GPU", 0)
    if 0 < gpu < 1:
        _share_gpu(gpu)
    node = ray.get_runtime_context().get_node_id()
    run_trial(wire, lambda values: tune.report({**values, "node": node}))


def run_as_train_job(wire: dict[str, Any]) -> None:
    """Tune function of a trial with several workers: start a Ray Train job and relay its reports.

    It must not hold the CPUs that its own workers wait for, so it is scheduled on a resource of the head node instead.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from orchestrator.cluster.network import RaysTorchConfig

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
    run_trial(wire, ray.train.report)


def _share_gpu(part: float) -> None:
    """Ray shares out a GPU, but not its memory; a tenth is for what every process needs besides."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(0.9 * part)


def run_trial(wire: dict[str, Any], report: Report) -> None:
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
                place = stack.enter_context(open_workplace(wire))
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
            (place.folder / names.ERROR).write_text(traceback.format_exc())
        place.save(first=distributed.is_main())
        raise
    place.save(first=distributed.is_main())
    return history


def _with_node(reason: str, wire: dict[str, Any]) -> str:
    """A reason with the node that it is from, unless that is the driver's, or several workers have agreed on it, which
    names the node."""
    node = f"{socket.gethostname()}: "
    return reason if wire["host"] == socket.gethostname() or wire["workers"] > 1 else node + reason.removeprefix(node)
