"""`search`: train the trials of a search space, pick the winner on train_fullsup, test it once.

load            the file with its overrides, checked
require         all other checks, before anything is written
connected       Ray on this machine, or a cluster
    plan            how many trials fit at once, and what each takes
    begin_study     the run folder and its study
    train_trials    Ray places the trials that the study draws, and reports every epoch to it, until none is left
    train_again     where study.confirm asks for it, the best trials once more, with other seeds
    conclude        the winner and its post-hoc settings on train_fullsup, the final test, report and summary
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from orchestrator.cluster.connection import connected
from orchestrator.cluster.plan import Plan, plan_on_cluster
from orchestrator.console import console
from orchestrator.experiment.foreign import packages_of
from orchestrator.experiment.load import load_and_print_notes
from orchestrator.formats import timestamp
from orchestrator.preflight import checks
from orchestrator.preflight.place import default_folder
from orchestrator.runs.folder import write_trials
from orchestrator.runs.header import read_header, update_header
from orchestrator.runs.store import store_of_run
from orchestrator.study.begin import begin_study, open_or_begin
from orchestrator.study.confirmed import confirming_reruns
from orchestrator.study.interleaved import Interleaved
from orchestrator.study.reruns import Rerun
from orchestrator.study.study import Study
from orchestrator.trials.interrupt import interruptible
from orchestrator.trials.progress import ConfirmProgress, SearchProgress
from orchestrator.verbs.conclude import conclude
from orchestrator.winner.in_store import measure_on_nodes
from wsol.errors import counted, named


def search(path: Path, overrides: list[str], run: Path | None = None, address: str | None = None) -> Path:
    """Search, select on train_fullsup, test once; returns the run folder.

    Args:
        path: a search-space file.
        overrides: `KEY=VALUE`.
        run: the run folder, `runs/<file name>` by default; must not hold a run.
        address: the address of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
        RunFailed: no trial succeeded, or Ray gave up.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    loaded = load_and_print_notes(path, overrides)
    folder = run or default_folder(loaded.name)
    checks.require(loaded.experiment, folder, address)
    with connected(address, packages_of(loaded.experiment)) as resources:
        plan = plan_on_cluster(loaded.experiment.resources, loaded.experiment.study.trials, resources)
        facts = {"machine": plan.machine, "concurrent_trials": plan.concurrent}
        with closing(begin_study(folder, loaded, "search", None, **facts)) as study:
            train_trials(study, plan, resources)
            train_again(study, plan, resources)
            return conclude(study, measure_on_nodes(study, plan))


def train_trials(study: Study, plan: Plan, resources: dict[str, float]) -> None:
    """Train all trials that a study still asks for.

    Args:
        study: the study of a run.
        plan: the resources of a trial, and how many run at a time.
        resources: Ray's resource totals.

    Raises:
        RunFailed: Ray gave up, or too many trials failed.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    from orchestrator.trials.tuner import run_trials

    folder, waiting, best = study.folder, study.unfinished(), study.best()
    console.print(
        f"{counted(waiting, 'trial')}, {plan.concurrent} at a time, {plan.workers} worker(s) each; results in {folder}"
    )
    epochs = study.experiment.trial.training.epochs
    progress = SearchProgress(waiting, epochs, plan.concurrent, best.values[0] if best else None, console)
    with interruptible(folder, finish_epochs=True) as stopped:
        try:
            with progress:
                run_trials(study, plan, progress, resources, stopped.is_set, store_of_run(folder, study.experiment))
        finally:
            write_trials(folder, study.trials())
            update_header(folder, enough=study.enough())


def train_again(study: Study, plan: Plan, resources: dict[str, float]) -> None:
    """Train the best trials of a search again with other seeds, as far as that is not done yet.

    Args: see `train_trials`.

    Raises: see `train_trials`.
    """
    from orchestrator.trials.tuner import run_trials

    planned = confirming_reruns(study)
    if not planned:
        return
    with ExitStack() as opened:
        studies: dict[str, Study] = {}
        for rerun in planned:
            studies[rerun.name] = open_or_begin(
                rerun.folder, rerun.loaded, "train", machine=plan.machine, concurrent_trials=plan.concurrent
            )
            opened.callback(studies[rerun.name].close)
        queue = Interleaved(study.folder, studies, lambda name: {})
        if queue.planned:
            console.print(f"{_again_in_words(planned)}; {counted(queue.planned, 'training')} left")
        progress = ConfirmProgress(
            {rerun.name: rerun for rerun in planned},
            queue,
            {rerun.trial: study.value(rerun.trial) for rerun in planned},
            study.experiment.trial.training.epochs,
            plan.concurrent,
            console,
        )
        try:
            with interruptible(study.folder, finish_epochs=True) as stopped, progress:
                run_trials(queue, plan, progress, resources, stopped.is_set)
        finally:
            for one in studies.values():
                _note_end(one)


def _again_in_words(planned: list[Rerun]) -> str:
    trials, seeds = ({getattr(rerun, name): None for rerun in planned} for name in ("trial", "seed"))
    return f"{named('trial', trials)} again, with {named('seed', seeds)}"


def _note_end(study: Study) -> None:
    """Write the table of a training that was begun, and whether it has ended."""
    write_trials(study.folder, study.trials())
    if not study.unfinished() and not read_header(study.folder).ended:
        update_header(study.folder, ended=timestamp())
