"""The search: our study draws trials, Ray Tune places and runs them, and our study records their results. Ray's own
state is thrown away, because the journal is enough to resume."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune.schedulers import FIFOScheduler

from orchestrator.cluster.environment import session_folder
from orchestrator.cluster.nodes import alive_nodes, last_line
from orchestrator.cluster.plan import HEAD, Plan, request_room
from orchestrator.cluster.raylet import RayletWatch, raylet_watched
from orchestrator.runs.store import Mirror
from orchestrator.study.task import Queue
from orchestrator.trials.loggers import make_loggers
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher
from orchestrator.trials.wire import NODE
from orchestrator.trials.worker import run_as_train_job, run_in_actor
from wsol.disk import full_disk_of
from wsol.errors import RunFailed

SECONDS_TO_NOTICE = 60.0
"""Ray notices the death of a node later than that of the processes on it."""

MEMORY = (
    "the memory of a machine was full, and Ray ended the process of a trial there; smaller batches or fewer trials at a"
    " time (resources.concurrent_trials) need less"
)


def run_trials(
    study: Queue,
    plan: Plan,
    progress: SearchProgress,
    resources: dict[str, float],
    stopped: Callable[[], bool],
    mirror: Mirror | None = None,
) -> None:
    """Run all trials that the study has left.

    Args:
        study: the queue of trials: one study, or several in turn.
        plan: the resources of a trial.
        progress: shows the progress.
        resources: Ray's resource totals.
        stopped: whether the user wants it to stop.
        mirror: the run's store, where it has one.

    Raises:
        KeyboardInterrupt: the user stopped it; what was running stays resumable.
        RunFailed: Ray gave up, or too many trials failed.
    """
    waiting = study.unfinished()
    if not waiting:
        return
    state = study.folder / ".tune"
    searcher = StudySearcher(study, plan, progress, stopped, mirror)
    remedy = f"continue with: python launch.py resume {study.folder}"
    try:
        request_room(plan, waiting)
        with raylet_watched() as watch:
            while _ended_by_memory(searcher, watch, plan, resources, state):
                searcher = StudySearcher(study, plan, progress, stopped, mirror)
    except Exception as error:
        why = searcher.halted or full_disk_of(error, study.folder, session_folder()) or _why_ray_stopped(error)
        raise RunFailed(f"{why}; {remedy}") from error
    finally:
        request_room(plan, 0)
    if stopped():
        raise KeyboardInterrupt
    if reason := study.stopped():
        raise RunFailed(
            f"the search was stopped: {reason}\nremove the cause, then: python launch.py retry {study.folder} (or"
            " resume with a higher study.max_failed_trials)"
        )
    if study.unfinished():
        raise RunFailed(f"{study.unfinished()} of {study.planned} trials did not run; {remedy}")
    shutil.rmtree(state, ignore_errors=True)


def _ended_by_memory(
    searcher: StudySearcher, watch: RayletWatch, plan: Plan, resources: dict[str, float], state: Path
) -> bool:
    """Let Tune train what is left; returns whether it ended because memory was full, and its trials wait for another
    searcher."""
    shutil.rmtree(state, ignore_errors=True)
    try:
        _tuner(searcher, Attendant(searcher, watch), plan, resources, state).fit()
    except Exception as error:
        if _memory_was_full(error) and plan.workers == 1 and searcher.put_all_back(MEMORY):
            return True
        raise
    return False


def _tuner(
    searcher: StudySearcher, attendant: Attendant, plan: Plan, resources: dict[str, float], state: Path
) -> tune.Tuner:
    """Ray Tune, set up for a study; its own state goes to a folder that is not read again."""
    study = searcher.study
    return tune.Tuner(
        _trainable(plan, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(searcher),
            num_samples=-1,
            max_concurrent_trials=plan.concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(state.absolute()),
            verbose=0,
            callbacks=[attendant, *make_loggers(study.loggers, study.folder.resolve().name)],
            failure_config=tune.FailureConfig(max_failures=study.max_failures if plan.workers == 1 else 0),
        ),
    )


def _why_ray_stopped(error: Exception) -> str:
    """The reason in one line; Tune's errors may contain whole tracebacks of other errors."""
    if isinstance(error, RunFailed):
        return str(error)
    if _memory_was_full(error):
        return MEMORY
    return f"Ray stopped the search ({type(error).__name__}: {last_line(error)})"


def _memory_was_full(error: Exception) -> bool:
    """Whether Ray ended the process of a trial because of it: Tune ends with such an error, where it starts a trial
    that died otherwise."""
    return isinstance(error.__cause__, OutOfMemoryError)


class Attendant(tune.Callback):  # type: ignore[misc]
    """A callback for what Tune says between results: that a step is over, or that a trial is started again. If the
    raylet has died, Tune would wait for ever, so this is checked here.

    To Tune, a trial whose node dies without notice has failed; once the node is known to be dead, that failure is taken
    back. (For nodes that are drained with notice, Tune does not count it in the first place.)
    """

    def __init__(self, searcher: StudySearcher, watch: RayletWatch) -> None:
        self._searcher, self._watch = searcher, watch
        self._failures: dict[str, int] = {}
        self._suspects: list[tuple[Any, str, float]] = []
        self._looked = 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the search even if nothing was reported for long.

        Raises:
            KeyboardInterrupt, RunFailed: see `StudySearcher.between_steps`; or Ray has died.
        """
        self._watch.require_alive()
        self._searcher.between_steps(trial.trial_id for trial in trials if trial.status == "RUNNING")
        if self._suspects and time.monotonic() - self._looked > 1:
            self._looked = time.monotonic()
            self._take_back_failures_of_dead_nodes({node["NodeID"] for node in alive_nodes()})

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial's process died; it may continue elsewhere."""
        failures = trial.run_metadata.num_failures
        counted = failures > self._failures.get(trial.trial_id, 0)
        self._failures[trial.trial_id] = failures
        self._searcher.restarted(trial.trial_id, lost_node=not counted)
        if counted and (node := (trial.last_result or {}).get(NODE)):
            self._suspects.append((trial, node, time.monotonic() + SECONDS_TO_NOTICE))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Drop Tune's running means of every metric of the trial, which are not used: over hundreds of trials they took
        most of the memory."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def _take_back_failures_of_dead_nodes(self, alive: set[str]) -> None:
        for trial, node, _ in self._suspects:
            if node not in alive:
                trial.run_metadata.num_failures -= 1
                self._failures[trial.trial_id] -= 1
                self._searcher.node_was_lost(trial.trial_id)
        self._suspects = [
            suspect for suspect in self._suspects if suspect[1] in alive and time.monotonic() < suspect[2]
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into a state that is never read back."""
        return {}


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune asks a scheduler after every epoch whether a trial goes on. Ours passes the question to the study, whose
    journal has all epochs."""

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The decision about a trial: STOP, CONTINUE or NOOP."""
        return self._searcher.after_epoch(trial.trial_id, result)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler into a state that is never read back."""
        return {}


def _trainable(plan: Plan, resources: dict[str, float]) -> Any:
    if plan.workers == 1:
        return tune.with_resources(run_in_actor, plan.needs())
    # Every trial driver takes one unit of the head's resource; a cluster without it gives a sliver of a CPU instead.
    return tune.with_resources(run_as_train_job, {HEAD: 1} if HEAD in resources else {"CPU": 0.01})
