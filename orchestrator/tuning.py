"""The search: our study asks, Ray Tune places and runs, our study is told. Ray's own state is thrown away: the journal
is enough to go on."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator import hang
from orchestrator.cluster import HEAD, Plan, scarce, want
from orchestrator.interleave import Interleaved
from orchestrator.journal import trial_folder
from orchestrator.loggers import make_loggers
from orchestrator.patience import Patience
from orchestrator.progress import Progress
from orchestrator.storage import Mirror, is_checkpoint, of_worker
from orchestrator.study import Study, Task
from orchestrator.trial import run_as_train_job, run_in_actor, to_wire
from orchestrator.workplace import ERROR
from wsol.addresses import below
from wsol.errors import RunFailed

SECONDS_TO_NOTICE = 60.0
"""Ray notices the death of a node later than that of the processes on it."""


def run_trials(
    study: Study | Interleaved,
    plan: Plan,
    progress: Progress,
    resources: dict[str, float],
    stopped: Callable[[], bool],
    mirror: Mirror | None = None,
) -> None:
    """Run all trials that the study still asks for.

    Args:
        study: asks and is told; or several in turn.
        plan: what a trial takes.
        progress: shows it.
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
    shutil.rmtree(state, ignore_errors=True)
    searcher = StudySearcher(study, plan, progress, stopped, mirror)
    tuner = tune.Tuner(
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
            callbacks=[Attendant(searcher), *make_loggers(study.loggers, study.folder.resolve().name)],
            failure_config=tune.FailureConfig(max_failures=study.max_failures if plan.workers == 1 else 0),
        ),
    )
    remedy = f"continue with: python launch.py resume {study.folder}"
    try:
        want(plan, waiting)
        tuner.fit()
    except Exception as error:
        raise RunFailed(f"Ray stopped the search ({type(error).__name__}: {error}); {remedy}") from error
    finally:
        want(plan, 0)
    if stopped():
        raise KeyboardInterrupt
    if reason := study.stopped():
        mend = f"mend the cause, then: python launch.py retry {study.folder}"
        raise RunFailed(f"the search was stopped: {reason}\n{mend} (or resume with a higher study.max_failed_trials)")
    if study.unfinished():
        raise RunFailed(f"{study.unfinished()} of {study.planned} trials did not run; {remedy}")
    shutil.rmtree(state, ignore_errors=True)


class StudySearcher(Searcher):  # type: ignore[misc]
    """Ray Tune's view of a `Study`: which configuration next, what became of the last."""

    def __init__(
        self,
        study: Study | Interleaved,
        plan: Plan,
        progress: Progress,
        stopped: Callable[[], bool],
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__()
        self._study, self._plan, self._progress, self._stopped, self._mirror = study, plan, progress, stopped, mirror
        self._tasks: dict[str, Task] = {}
        self._pruned: set[str] = set()
        self._parked: set[str] = set()
        self._silent: set[str] = set()
        self._hung: dict[str, int] = {}
        self._patience = Patience()
        self._started: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial as Tune's configuration; None to be asked again later, or FINISHED."""
        task = None if self._stopped() else self._study.ask()
        if task is None:
            more = self._study.is_waiting() or self._tasks  # a running trial may have to be put back
            return None if more and not self._stopped() else str(Searcher.FINISHED)
        self._silent.add(trial_id)
        self._tasks[trial_id], self._started[trial_id] = task, time.perf_counter()
        self._progress.start(task.number, self._study.planned)
        self._keep_journal()
        return to_wire(task, self._plan, self._stores(task))

    def after_epoch(self, trial_id: str, result: dict[str, Any]) -> str:
        """An epoch ended, or a trial with a last report; Tune's word for how the trial goes on. Not at all once the
        user wants it to stop: it waits in its report, its checkpoint is on the disk."""
        if "objective_now" in result:
            self._silent.discard(trial_id)
            task = self._tasks[trial_id]
            self._progress.epoch(task.number, result)
            if self._study.report(task.number, result):
                self._pruned.add(trial_id)
                return str(TrialScheduler.STOP)
            if self._stopped() and result["epoch"] < task.config.training.epochs:
                self._parked.add(trial_id)
                return str(TrialScheduler.NOOP)
        return str(TrialScheduler.CONTINUE)

    def between_steps(self, running: Iterable[str]) -> None:
        """Look at what no trial reports.

        Args:
            running: Tune's ids of the trials that have a process.

        Raises:
            KeyboardInterrupt: the user wants it to stop, and no epoch runs any more.
        """
        if self._stopped():
            if not set(running) - self._parked:
                raise KeyboardInterrupt
        elif line := self._patience.line(time.monotonic(), bool(self._silent), scarce):
            self._progress.note(f"waits: {line}")

    def restarted(self, trial_id: str, *, lost_node: bool) -> None:
        """A trial was started again after its process died, alone or with its node."""
        task = self._tasks[trial_id]
        self._study.count(task.number, **{"preemptions" if lost_node else "restarts": 1})
        hung = hang.times(task.folder) > self._hung.get(trial_id, 0)
        self._hung[trial_id] = self._hung.get(trial_id, 0) + hung
        reason = "lost its node" if lost_node else "hung (see hung.txt in its folder)" if hung else "lost its process"
        self._progress.note(f"trial {task.number:>3}  {reason}; goes on from its last checkpoint")

    def forgiven(self, trial_id: str) -> None:
        """The last restart of a trial was the fault of its node, as is known now."""
        if trial_id in self._tasks:
            self._study.count(self._tasks[trial_id].number, restarts=-1, preemptions=1)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler, which Tune asks first, has passed it on."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: with a history, with a failure, or without a word."""
        task = self._tasks.pop(trial_id)
        number = task.number
        self._silent.discard(trial_id)
        self._fetch(number)
        seconds = time.perf_counter() - self._started.pop(trial_id)
        result = result or {}
        worker = str(result.get("worker", "unknown"))
        if trial_id in self._pruned:
            self._progress.prune(number, self._study.prune(number, seconds, worker))
        elif "history" in result and not error:
            self._complete(number, json.loads(result["history"]), result["seconds"], worker)
        elif error and self._plan.workers == 1 and self._study.put_back(number):
            # Tune gives up a trial of which it hears twice that its process died, as when a node dies while it hands
            # the process over.
            self._progress.note(f"trial {number:>3}  lost its process twice; goes on from its last checkpoint")
        else:
            reason = result.get("failure") if not error else None
            self._fail(number, reason or last_words(task.folder), seconds, worker)
        self._keep_journal()
        self._want_what_is_left()

    def _keep_journal(self) -> None:
        """A copy of the study, in the run's store."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):  # it is brought again with the next trial
                self._mirror.push(lambda name: "/" not in name)

    def _want_what_is_left(self) -> None:
        """Need fewer machines when less is left than they could do."""
        left = self._study.unfinished() + len(self._tasks)
        if left < self._plan.concurrent:
            want(self._plan, left)

    def _fetch(self, number: int) -> None:
        """What a trial left, but not its checkpoints."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):  # it is fetched again when the search ends
                self._mirror.pull(
                    lambda name: of_worker(name) and not is_checkpoint(name),
                    part=trial_folder(Path(), number).as_posix(),
                )

    def _stores(self, task: Task) -> list[str]:
        """Where the results of a trial are kept, and those of the failed ones that it tries again."""
        address = self._mirror.address if self._mirror is not None else None
        return [below(address, trial_folder(Path(), number).as_posix()) for number in task.lineage] if address else []

    def _complete(self, number: int, history: list[dict[str, float]], seconds: float, worker: str) -> None:
        failure = self._study.complete(number, history, seconds, worker)
        if failure is None:
            self._progress.complete(number, self._study.value(number))
        else:
            self._progress.fail(number, failure)

    def _fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        self._study.fail(number, reason, seconds, worker)
        self._progress.fail(number, reason)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is on disk."""
        Path(checkpoint_path).write_text("the study journal is the state")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher into a state that we never read back."""
        return {}


class Attendant(tune.Callback):  # type: ignore[misc]
    """What Tune says between results: that a step is over, and that a trial is started again.

    A trial whose node dies without notice has failed, in Tune's eyes; when the node turns out dead, that failure is
    taken back. (Of nodes that are drained with notice Tune does not count it to begin with.)
    """

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher
        self._failures: dict[str, int] = {}
        self._suspects: list[tuple[Any, str, float]] = []
        self._looked = 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Nothing may have been reported for long."""
        self._searcher.between_steps(trial.trial_id for trial in trials if trial.status == "RUNNING")
        if self._suspects and time.monotonic() - self._looked > 1:
            self._looked = time.monotonic()
            self._look_for_dead_nodes({node["NodeID"] for node in ray.nodes() if node["Alive"]})

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process died; it may go on elsewhere."""
        failures = trial.run_metadata.num_failures
        counted = failures > self._failures.get(trial.trial_id, 0)
        self._failures[trial.trial_id] = failures
        self._searcher.restarted(trial.trial_id, lost_node=not counted)
        if counted and (node := (trial.last_result or {}).get("node")):
            self._suspects.append((trial, node, time.monotonic() + SECONDS_TO_NOTICE))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's running means of every metric of every trial are never asked for: over hundreds of trials they were
        most of what grew."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def _look_for_dead_nodes(self, alive: set[str]) -> None:
        for trial, node, _ in self._suspects:
            if node not in alive:
                trial.run_metadata.num_failures -= 1
                self._failures[trial.trial_id] -= 1
                self._searcher.forgiven(trial.trial_id)
        self._suspects = [
            suspect for suspect in self._suspects if suspect[1] in alive and time.monotonic() < suspect[2]
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks into a state that we never read back."""
        return {}


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune asks a scheduler after every epoch whether a trial goes on. Ours passes the question to the study, whose
    journal has all epochs."""

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP, CONTINUE or NOOP."""
        return self._searcher.after_epoch(trial.trial_id, result)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler into a state that we never read back."""
        return {}


def last_words(folder: Path) -> str:
    """Why the process of a trial died last: it hung, raised, or was killed."""
    error, hung = folder / ERROR, folder / "hung.txt"
    if hang.times(folder) and not (error.exists() and error.stat().st_mtime > hung.stat().st_mtime):
        return f"hung: no epoch ended for too long, {hang.times(folder)} time(s); where it stood is in {hung}"
    with contextlib.suppress(OSError, IndexError):
        return error.read_text().strip().splitlines()[-1]
    return "its process died without a message (killed, or out of memory)"


def _trainable(plan: Plan, resources: dict[str, float]) -> Any:
    if plan.workers == 1:
        return tune.with_resources(run_in_actor, plan.needs())
    # Every trial driver takes one unit of the head's resource; a cluster without it gives a sliver of a CPU instead.
    return tune.with_resources(run_as_train_job, {HEAD: 1} if HEAD in resources else {"CPU": 0.01})
