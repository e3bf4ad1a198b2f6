"""What the verbs have in common: read a file and try what it asks for, before anything starts; work elsewhere; be
interrupted; keep a store up to date."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator import cluster, final, forecast, runs, storage
from orchestrator.experiment import Experiment, Loaded, load_experiment
from orchestrator.journal import trial_folder
from orchestrator.measure import post_hoc_settings
from orchestrator.rivals import RIVALS
from orchestrator.study import Study
from wsol.errors import RunFailed

if TYPE_CHECKING:
    from wsol.method import Method

console = Console(highlight=False, soft_wrap=True)
INTERRUPTED = 130
"""Exit code of what can be resumed."""


def load(path: Path, overrides: list[str], *, ignores_search: bool = False) -> Loaded:
    """`load_experiment`, whose notes the user is told."""
    loaded = load_experiment(path, overrides, ignores_search=ignores_search)
    for note in loaded.notes:
        console.print(f"note: {note}")
    return loaded


def check_runnable(experiment: Experiment, folder: Path) -> None:
    """Read the data, decode what will be cached, try the metrics, build the model once, ask for room, before anything
    is written or started."""
    check_data(experiment)
    forecast.require_disk_for(experiment, check_model(experiment), folder)


def check_data(experiment: Experiment) -> None:
    """The part of `check_runnable` that runs with the same data set and metrics share."""
    from wsol import build
    from wsol.evaluation import require_countable

    config = experiment.trial
    dataset = build.dataset(config.data)
    build.images(dataset, "train_weaksup", config.data)
    for split in ("train_fullsup", "test"):
        require_countable(build.images(dataset, split, config.data), config.evaluation)


def check_model(experiment: Experiment) -> Method:
    """Build the model once, and look for the blocks that are evaluated; returns it."""
    from wsol import build
    from wsol.evaluation import require_blocks

    config = experiment.trial
    settings = [setting.evaluation for _, setting in post_hoc_settings(config, experiment.post_hoc)]
    method = build.method(config, build.dataset(config.data).num_classes)
    require_blocks(method, settings)
    return method


def on_ray(plan: cluster.Plan, function: final.Measure, mirror: storage.Mirror | None = None) -> final.Measure:
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
            mirror.push(lambda name: name.startswith("best/"))
            here["store"] = mirror.address
        try:
            measured: dict[str, Any] = ray.get(remote.remote({**request, **here}))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        if mirror:
            mirror.pull(part="best")
        return measured

    return measure_there


@contextlib.contextmanager
def interruptible(folder: Path, *, patient: bool = False) -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM end a run so that it can be resumed; a second one ends the process on the spot, which can be
    resumed as well.

    Args:
        folder: of the run.
        patient: leave the block to end itself after the first one, when the running epochs have ended.

    Yields:
        set once one of them came. The exception alone can be lost: Python drops what is raised inside a destructor,
            which may just be running.
    """
    stopped = threading.Event()
    remedy = f"interrupted; continue with: python launch.py resume {folder}"

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            os.write(1, f"\n{remedy}\n".encode())
            os._exit(INTERRUPTED)
        stopped.set()
        if not patient:
            raise KeyboardInterrupt
        os.write(1, b"\nstops when the running epochs have ended; once more: at once\n")

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
        if stopped.is_set():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        console.print(f"\n{remedy}")
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def kept_in_store(study: Study, folder: Path) -> Iterator[None]:
    """What the trials left in the run's store is here for the time of the block; what came of it is there afterwards.

    Raises:
        RunFailed: the store does not answer.
    """
    mirror = storage.of_run(folder, study.experiment)
    if mirror is None:
        yield
        return
    with told(mirror):
        mirror.pull(lambda name: storage.of_worker(name) and not storage.is_checkpoint(name), part="trials")
        for number in final.kept_trials(study) | {trial.number for trial in study.ranked()[: RIVALS + 1]}:
            mirror.pull(storage.is_checkpoint, part=trial_folder(Path(), number).as_posix())
    yield
    with told(mirror):
        mirror.push_all()


@contextlib.contextmanager
def told(mirror: storage.Mirror) -> Iterator[None]:
    """An error of a store inside of the block, in words.

    Raises:
        RunFailed: the store does not answer.
    """
    try:
        yield
    except OSError as error:
        remedy = f"nothing is lost here; when it answers again: python launch.py resume {mirror.folder}"
        raise RunFailed(f"{mirror.address}: the store does not answer ({error}); {remedy}") from error


def bring_evaluation(folder: Path) -> None:
    """A later evaluation goes to the store of the run as well. Raises RunFailed where that does not answer."""
    if mirror := storage.of_run(folder, runs.open_experiment(folder)):
        with told(mirror):
            mirror.push(lambda name: not name.startswith("trials/"))
