"""`search`: train the trials of a search space, pick the winner on train_fullsup, test it once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cluster.connection import connected
from orchestrator.cluster.plan import Plan, local_resources, plan_on_cluster, plan_trials
from orchestrator.console import console
from orchestrator.experiment.load import Loaded, load
from orchestrator.formats import counted
from orchestrator.preflight.checks import check_runnable
from orchestrator.runs.folder import require_no_run, write_trials
from orchestrator.runs.store import require_free_store, store_of_run
from orchestrator.study.begin import begin_study
from orchestrator.study.samplers import require_sampler_packages
from orchestrator.study.study import Study
from orchestrator.trials.interrupt import interruptible
from orchestrator.trials.loggers import require_logger_packages
from orchestrator.trials.progress import SearchProgress
from orchestrator.verbs.conclude import conclude
from orchestrator.winner.in_store import measure_on_nodes

if TYPE_CHECKING:
    from orchestrator.study.points import Candidate


def search(path: Path, overrides: list[str], run: Path | None = None, address: str | None = None) -> Path:
    """Search, select on train_fullsup, test once; returns the run folder.

    Args:
        path: a search-space file.
        overrides: `KEY=VALUE`.
        run: the run folder, `runs/<file name>` by default; must not hold a run.
        address: of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: something the user can mend; nothing was written.
        RunFailed: no trial succeeded, or Ray gave up.
        KeyboardInterrupt: stopped by the user; resumable.
    """
    loaded = load(path, overrides)
    folder = run or Path("runs") / loaded.name
    require_no_run(folder)
    require_sampler_packages(loaded.experiment.study.sampler)
    check_runnable(loaded.experiment, folder)
    return begin_search(loaded, folder, address, "search", {})


def begin_search(
    loaded: Loaded,
    folder: Path,
    address: str | None,
    kind: str,
    facts: dict[str, Any],
    points: list[Candidate] | None = None,
) -> Path:
    trials = loaded.experiment.study.trials
    require_logger_packages(loaded.experiment.study.loggers)
    if address is None:
        plan_trials(loaded.experiment.resources, trials, local_resources())  # refuse before Ray starts
    require_free_store(loaded.experiment.resources.storage, folder.resolve().name)
    with connected(address) as resources:
        plan = plan_on_cluster(loaded.experiment.resources, trials, resources)
        facts = {"machine": plan.machine, "concurrent_trials": plan.concurrent, **facts}
        study = begin_study(folder, loaded, kind, points, **facts)
        return run_search(study, folder, plan, resources, test=kind == "search")


def run_search(study: Study, folder: Path, plan: Plan, resources: dict[str, float], *, test: bool) -> Path:
    from orchestrator.trials.tuner import run_trials

    mirror = store_of_run(folder, study.experiment)
    done = study.best()
    epochs = study.experiment.trial.training.epochs
    console.print(
        f"{counted(study.unfinished(), 'trial')}, {plan.concurrent} at a time, {plan.workers} worker(s) each; results"
        f" in {folder}"
    )
    progress = SearchProgress(study.unfinished(), epochs, plan.concurrent, done.values[0] if done else None, console)
    try:
        with interruptible(folder, finish_epochs=True) as stopped, progress:
            run_trials(study, plan, progress, resources, stopped.is_set, mirror)
    finally:
        write_trials(folder, study.trials())
    return conclude(study, folder, measure_on_nodes(plan, mirror), test=test)
