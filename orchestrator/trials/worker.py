"""Runs one trial on Ray: in the Tune actor if it has one worker, through a Ray Train job if it has several. The
training itself is `wsol.training.train`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from orchestrator.experiment.foreign import require_installed
from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.runs import names
from orchestrator.runs.by_image import pack
from orchestrator.runs.scratch import scratch
from orchestrator.study.watchdog import Watchdog
from orchestrator.trials.epoch_log import EpochLog
from orchestrator.trials.wire import NODE, Assignment, EpochReport, Report, TrialDone, TrialFailed, TrialHalted, encode
from orchestrator.trials.workplace import Workplace, open_workplace
from wsol.checkpoint import Record
from wsol.config import TrainConfig
from wsol.disk import full_disk_of
from wsol.errors import Diverged, InputError
from wsol.ops.boxes import Floats


def run_in_actor(plain: dict[str, Any]) -> None:
    """Tune function of a trial with one worker.

    Args:
        plain: an `Assignment` as plain values.
    """
    import ray
    from ray import tune

    assignment = Assignment.from_plain(plain)
    gpu = assignment.needs.get("GPU", 0)
    if 0 < gpu < 1:
        _share_gpu(gpu)
    node = ray.get_runtime_context().get_node_id()
    run_trial(assignment, lambda report: tune.report({**encode(report), NODE: node}))


def run_as_train_job(plain: dict[str, Any]) -> None:
    """Tune function of a trial with several workers: start a Ray Train job and relay its reports.

    It must not hold the CPUs that its own workers wait for, so it is scheduled on a resource of the head node instead.

    Args:
        plain: an `Assignment` as plain values.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from orchestrator.cluster.network import RaysTorchConfig

    assignment = Assignment.from_plain(plain)
    gpu = "GPU" in assignment.needs
    with scratch() if assignment.stores else nullcontext(assignment.folder / "ray") as state:
        TorchTrainer(
            run_in_train_worker,
            train_loop_config=plain,
            scaling_config=ScalingConfig(
                num_workers=assignment.workers,
                use_gpu=gpu,
                resources_per_worker=assignment.needs,
                placement_strategy=assignment.placement.upper(),
            ),
            torch_config=RaysTorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=RunConfig(
                name=f"trial-{assignment.number:04d}",
                storage_path=str(state),
                callbacks=[TuneReportCallback()],
                failure_config=FailureConfig(max_failures=assignment.max_failures),
            ),
        ).fit()


def run_in_train_worker(plain: dict[str, Any]) -> None:
    """The function that each worker of a Ray Train job runs.

    Args:
        plain: an `Assignment` as plain values.
    """
    import ray.train
    import ray.train.torch
    import torch

    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    run_trial(Assignment.from_plain(plain), lambda report: ray.train.report(encode(report)))


def _share_gpu(part: float) -> None:
    """Ray shares out a GPU, but not its memory; a tenth is for what every process needs besides."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(0.9 * part)


def run_trial(assignment: Assignment, report: Callable[[Report], None]) -> None:
    """Train a trial; report every epoch, and the outcome at the end.

    A trial that cannot succeed (diverged, unusable input) ends with a report that says so: raising would start it
    again. A trial whose disk is full reports that, and can be resumed. Anything else is raised, with its traceback kept
    in the trial's folder.

    Args:
        assignment: says what to train, and where.
        report: takes reports; returns when the search lets the trial continue.
    """
    started = time.perf_counter()
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return_memory()  # at the start: what the trial before held is free by now
    from wsol import distributed

    try:
        with ExitStack() as stack:
            with distributed.agreed():
                place = stack.enter_context(open_workplace(assignment))
            history = _train_in(place, assignment, lambda record, images: report(EpochReport(record, worker, images)))
    except (Diverged, InputError) as error:
        report(TrialFailed(_with_node(str(error), assignment), time.perf_counter() - started, worker))
    except Exception as error:
        full = full_disk_of(error, *_written(assignment))
        if full is None or assignment.workers > 1:  # workers report together, and not all of them know of it
            raise
        report(TrialHalted(full, worker))
    else:
        report(TrialDone(history, time.perf_counter() - started, worker))


def return_memory() -> None:
    """Give back to the operating system what was freed.

    A process trains one trial after the other, each in a thread of its own, and glibc keeps the memory that a thread
    freed for that thread: after seven trials that need 3 GB each, a process held 19 GB. Without glibc nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _train_in(place: Workplace, assignment: Assignment, report: Callable[[Record, str], None]) -> list[Record]:
    """Train in a folder of this node; the files of an epoch are safe before it is reported."""
    from wsol import distributed
    from wsol.training import train

    require_installed(assignment.plugins)
    config = TrainConfig.model_validate_json(assignment.config, strict=False)
    settings = post_hoc_settings(config, json.loads(assignment.post_hoc))

    images = [""]

    def keep(numbers: Floats) -> None:
        images[0] = pack(numbers)

    def after_epoch(record: Record) -> None:
        with watchdog.resting(record["seconds"]):
            place.save(first=distributed.is_main())
            report(record, images[0])

    watchdog = Watchdog(place.folder, assignment.hang_minutes, assignment.longest_epoch, distributed.rank())
    try:
        with watchdog, EpochLog(place.folder, settings, writes=distributed.is_main()) as log:
            configs, by_image = [config for _, config in settings], keep if assignment.by_image else None
            history = train(config, place.folder, assignment.objective, after_epoch, log, configs, by_image)
    except Exception as error:
        if not isinstance(error, (Diverged, InputError)):
            with contextlib.suppress(OSError):  # the disk may be full
                (place.folder / names.ERROR).write_text(traceback.format_exc())
        place.save(first=distributed.is_main())
        raise
    place.save(first=distributed.is_main())
    return history


def _written(assignment: Assignment) -> list[Path]:
    """Where a trial writes on its node."""
    return [Path(gettempdir()), *([] if assignment.stores else [assignment.folder])]


def _with_node(reason: str, assignment: Assignment) -> str:
    """A reason, preceded by the node that it is from, unless that is the driver's node, or several workers have agreed
    on a reason, which then names the node."""
    here = socket.gethostname()
    if here == assignment.host or assignment.workers > 1:
        return reason
    return f"{here}: {reason.removeprefix(f'{here}: ')}"
