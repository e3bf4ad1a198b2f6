"""The search: our study asks, Ray Tune places and runs, our study is told. Ray's own state is thrown away: the journal is enough to go on."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.cluster import HEAD, Plan
from orchestrator.interleave import Interleaved
from orchestrator.loggers import make_loggers
from orchestrator.progress import Progress
from orchestrator.study import Study, Task
from orchestrator.trial import run_as_train_job, run_in_actor, to_wire
from wsol.errors import RunFailed


def run_trials(study: Study | Interleaved, plan: Plan, progress: Progress, resources: dict[str, float], stopped: Callable[[], bool]) -> None:
    """Run all trials that the study still asks for.

    Args:
        study: asks and is told; or several in turn.
        plan: what a trial takes.
        progress: shows it.
        resources: Ray's resource totals.
        stopped: whether the user wants it to stop.

    Raises:
        KeyboardInterrupt: the user stopped it; what was running stays resumable.
        RunFailed: Ray gave up, or too many trials failed.
    """
    waiting = study.unfinished()
    if not waiting:
        return
    state = study.folder / ".tune"
    shutil.rmtree(state, ignore_errors=True)
    searcher = StudySearcher(study, plan, progress, stopped)
    tuner = tune.Tuner(
        _trainable(plan, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=StudyScheduler(searcher), num_samples=waiting, max_concurrent_trials=plan.concurrent, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(state.absolute()),
            verbose=0,
            callbacks=make_loggers(study.loggers, study.folder.resolve().name),
            failure_config=tune.FailureConfig(max_failures=study.max_failures if plan.workers == 1 else 0),
        ),
    )
    remedy = f"continue with: python launch.py resume {study.folder}"
    try:
        tuner.fit()
    except Exception as error:
        raise RunFailed(f"Ray stopped the search ({type(error).__name__}: {error}); {remedy}") from error
    if reason := study.stopped():
        mend = f"mend the cause, then: python launch.py retry {study.folder}"
        raise RunFailed(f"the search was stopped: {reason}\n{mend} (or resume with a higher study.max_failed_trials)")
    if study.unfinished():
        raise RunFailed(f"{study.unfinished()} of {study.planned} trials did not run; {remedy}")
    shutil.rmtree(state, ignore_errors=True)


class StudySearcher(Searcher):  # type: ignore[misc]
    """Ray Tune's view of a `Study`: which configuration next, what became of the last."""

    def __init__(self, study: Study | Interleaved, plan: Plan, progress: Progress, stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._study, self._plan, self._progress, self._stopped = study, plan, progress, stopped
        self._tasks: dict[str, Task] = {}
        self._pruned: set[str] = set()
        self._started: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial as Tune's configuration; None to be asked again later, or FINISHED."""
        task = self._study.ask()
        if task is None:
            return None if self._study.is_waiting() else str(Searcher.FINISHED)
        self._tasks[trial_id], self._started[trial_id] = task, time.perf_counter()
        self._progress.start(task.number, self._study.planned)
        plan = self._plan
        return to_wire(task, plan.workers, plan.cpus, plan.gpus, self._study.max_failures)

    def after_epoch(self, trial_id: str, result: dict[str, Any]) -> bool:
        """An epoch ended, or a trial with a last report; whether the trial is to be stopped."""
        if self._stopped():
            raise KeyboardInterrupt
        if "objective_now" in result:
            self._progress.epoch(self._tasks[trial_id].number, result)
            if self._study.report(self._tasks[trial_id].number, result):
                self._pruned.add(trial_id)
        return trial_id in self._pruned

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler, which Tune asks first, has passed it on."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: with a history, with a failure, or without a word."""
        task = self._tasks.pop(trial_id)
        number = task.number
        seconds = time.perf_counter() - self._started.pop(trial_id)
        result = result or {}
        worker = str(result.get("worker", "unknown"))
        if trial_id in self._pruned:
            self._progress.prune(number, self._study.prune(number, seconds, worker))
        elif "history" in result and not error:
            self._complete(number, json.loads(result["history"]), result["seconds"], worker)
        else:
            reason = result.get("failure") if not error else None
            self._fail(number, reason or last_words(task.folder / "error.txt"), seconds, worker)

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


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune asks a scheduler after every epoch whether a trial goes on. Ours passes the question to the study, whose journal has all epochs."""

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP or CONTINUE."""
        return str(TrialScheduler.STOP if self._searcher.after_epoch(trial.trial_id, result) else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler into a state that we never read back."""
        return {}


def last_words(path: Path) -> str:
    """The last line of a recorded traceback."""
    with contextlib.suppress(OSError, IndexError):
        return path.read_text().strip().splitlines()[-1]
    return "its process died without a message (killed, or out of memory)"


def _trainable(plan: Plan, resources: dict[str, float]) -> Any:
    if plan.workers == 1:
        return tune.with_resources(run_in_actor, {"CPU": plan.cpus, **({"GPU": plan.gpus} if plan.gpus else {})})
    # Every trial driver takes one unit of the head's resource; a cluster without it gives a sliver of a CPU instead.
    return tune.with_resources(run_as_train_job, {HEAD: 1} if HEAD in resources else {"CPU": 0.01})
