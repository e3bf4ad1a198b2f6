"""Measures the winner of a run whose results are in a store: its files are fetched first, and the results are copied
back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator.cluster.plan import Plan
from orchestrator.cluster.remote import on_worker_node
from orchestrator.console import console
from orchestrator.runs import names
from orchestrator.runs.folder import open_experiment, trial_folder
from orchestrator.runs.lock import was_worked_on_here
from orchestrator.runs.scratch import scratch
from orchestrator.runs.store import Mirror, is_checkpoint, is_of_worker, store_of_run
from orchestrator.study.checkpoints import RIVALS, kept_trials
from orchestrator.study.study import Study
from orchestrator.winner.measure import Measure, Measured, MeasureRequest, measure
from wsol.addresses import below
from wsol.errors import RunFailed


@contextlib.contextmanager
def kept_in_store(study: Study, folder: Path) -> Iterator[None]:
    """Fetch the files of the trials from the run's store for the time of the block, and copy the results to the store
    at its end.

    Raises:
        RunFailed: the store does not answer.
    """
    mirror = store_of_run(folder, study.experiment)
    if mirror is None:
        yield
        return
    with store_errors_explained(mirror):
        mirror.pull(lambda name: is_of_worker(name) and not is_checkpoint(name), part=names.TRIALS)
        for number in kept_trials(study) | {trial.number for trial in study.ranked()[: RIVALS + 1]}:
            mirror.pull(is_checkpoint, part=trial_folder(Path(), number).as_posix())
    yield
    with store_errors_explained(mirror):
        mirror.push_all()


@contextlib.contextmanager
def store_errors_explained(mirror: Mirror) -> Iterator[None]:
    """Turn an error of the store inside the block into a message with a remedy.

    Raises:
        RunFailed: the store does not answer.
    """
    try:
        yield
    except OSError as error:
        remedy = f"nothing is lost here; when it answers again: python launch.py resume {mirror.folder}"
        raise RunFailed(f"{mirror.address}: the store does not answer ({error}); {remedy}") from error


def push_evaluation(folder: Path) -> None:
    """Copy a later evaluation to the store of the run as well, unless the folder is from another machine: then this
    user did not choose the address. Raises RunFailed if the store does not answer."""
    mirror = store_of_run(folder, open_experiment(folder))
    if mirror and not was_worked_on_here(folder):
        console.print(
            f"nothing was brought to {mirror.address}, which this folder names: the run was not worked on here; if it"
            f" is yours: python launch.py resume DIR --from {mirror.address}, and evaluate there"
        )
    elif mirror:
        with store_errors_explained(mirror):
            mirror.push(lambda name: not name.startswith(f"{names.TRIALS}/"))


def measure_on_nodes(study: Study, plan: Plan) -> Measure:
    """Call `measure` on a node with the resources of a worker; if the run has a store, the winner is sent through it.

    Args:
        study: the run's study.
        plan: the resources of a worker.
    """
    mirror = store_of_run(study.folder, study.experiment)
    if mirror is None:
        return on_worker_node(plan, measure)
    there = on_worker_node(plan, partial(measure_in_scratch, mirror.address), same_folders=False)

    def measure_there(request: MeasureRequest) -> Measured:
        mirror.push(lambda name: name.startswith(f"{names.WINNER}/"))
        measured = there(request)
        mirror.pull(part=names.WINNER)
        return measured

    return measure_there


def measure_in_scratch(address: str, request: MeasureRequest) -> Measured:
    """Call `measure` on a node that does not see the run folder: the winner, its rivals and the results are sent
    through the store.

    Args:
        address: the address of the run in the store.
        request: what `measure` is asked.
    """
    with scratch() as folder:
        best = Mirror(below(address, names.WINNER), folder / names.WINNER)
        best.pull()
        rivals = []
        for rival in request.rivals:
            place = trial_folder(Path(), rival.number)
            Mirror(below(address, place.as_posix()), folder / place).pull()
            rivals.append(replace(rival, folder=folder / place))
        measured = measure(replace(request, folder=folder, rivals=rivals))
        best.push()
    return measured
