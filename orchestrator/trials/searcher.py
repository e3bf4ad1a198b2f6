"""Ray Tune's view of a study: which trial is next, what became of the last."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from orchestrator.cluster.nodes import what_waits_for_room
from orchestrator.cluster.plan import Plan, request_room
from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.store import Mirror, is_checkpoint, is_of_worker
from orchestrator.study.task import Queue, Task
from orchestrator.study.watchdog import count_hangs
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.reminders import Reminder
from orchestrator.trials.wire import to_wire
from wsol.addresses import below


class StudySearcher(Searcher):  # type: ignore[misc]
    """Ray Tune's view of a `Study`: which configuration next, what became of the last."""

    def __init__(
        self,
        study: Queue,
        plan: Plan,
        progress: SearchProgress,
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
        self._patience = Reminder()
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
        elif line := self._patience.line(time.monotonic(), bool(self._silent), what_waits_for_room):
            self._progress.note(f"waits: {line}")

    def restarted(self, trial_id: str, *, lost_node: bool) -> None:
        """A trial was started again after its process died, alone or with its node."""
        task = self._tasks[trial_id]
        self._study.count(task.number, **{"preemptions" if lost_node else "restarts": 1})
        hung = count_hangs(task.folder) > self._hung.get(trial_id, 0)
        self._hung[trial_id] = self._hung.get(trial_id, 0) + hung
        reason = (
            "lost its node" if lost_node else f"hung (see {names.HUNG} in its folder)" if hung else "lost its process"
        )
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
            request_room(self._plan, left)

    def _fetch(self, number: int) -> None:
        """What a trial left, but not its checkpoints."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):  # it is fetched again when the search ends
                self._mirror.pull(
                    lambda name: is_of_worker(name) and not is_checkpoint(name),
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


def last_words(folder: Path) -> str:
    """Why the process of a trial died last: it hung, raised, or was killed."""
    error, hung = folder / names.ERROR, folder / names.HUNG
    if count_hangs(folder) and not (error.exists() and error.stat().st_mtime > hung.stat().st_mtime):
        return f"hung: no epoch ended for too long, {count_hangs(folder)} time(s); where it stood is in {hung}"
    with contextlib.suppress(OSError, IndexError):
        return error.read_text().strip().splitlines()[-1]
    return "its process died without a message (killed, or out of memory)"
