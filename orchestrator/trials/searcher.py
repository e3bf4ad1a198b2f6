"""The study as a searcher of Ray Tune: gives it the next trial, and takes the results of the others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from orchestrator.cluster.nodes import what_waits_for_room
from orchestrator.cluster.plan import Plan, request_room
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.store import Mirror, is_checkpoint, is_of_worker
from orchestrator.study.task import Queue, Task
from orchestrator.study.watchdog import count_hangs
from orchestrator.trials.causes import begins_without_its_checkpoints, cause_of_death, where_it_goes_on
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.reminders import Reminder
from orchestrator.trials.wire import Assignment, EpochReport, Report, TrialDone, TrialFailed, TrialHalted, decode
from wsol.addresses import below
from wsol.disk import full_disk, full_disk_of
from wsol.errors import RunFailed


@dataclass(slots=True)
class Running:
    """A trial that was given to Ray Tune.

    Attributes:
        task: the study's task.
        started: when it was given to Tune, by a monotonic clock.
        hangs: how often it was ended because it hung, as far as noticed.
        silent: whether it has reported nothing yet.
        parked: whether it waits inside its report until the search ends, because the user stopped it.
        pruned: whether the study has stopped it.
    """

    task: Task
    started: float = field(default_factory=time.perf_counter)
    hangs: int = 0
    silent: bool = True
    parked: bool = False
    pruned: bool = False


class StudySearcher(Searcher):  # type: ignore[misc]
    """The study as a searcher of Ray Tune: gives it the next configuration, and takes the results of the others.

    Args:
        study: the queue of trials: one study, or several in turn.
        plan: the resources of a trial.
        progress: shows the progress.
        stopped: whether the user wants it to stop.
        mirror: the run's store, where it has one.

    Attributes:
        halted: why no trial can continue at present, through no fault of its own; None if nothing is wrong.
    """

    def __init__(
        self,
        study: Queue,
        plan: Plan,
        progress: SearchProgress,
        stopped: Callable[[], bool],
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__()
        self.study, self._plan, self._progress, self._stopped, self._mirror = study, plan, progress, stopped, mirror
        self._running: dict[str, Running] = {}
        self._room = Reminder()
        self.halted: str | None = None
        self._told_enough = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial as a configuration of Tune; None if Tune is to ask again later, or FINISHED."""
        task = None
        if not self._ends():
            with self._full_disk_halts():
                task = self.study.ask()
        if task is None:
            more = self.study.is_waiting() or self._running  # a running trial may have to be put back
            return None if more and not self._ends() else str(Searcher.FINISHED)
        trial = self._running[trial_id] = Running(task)
        self._progress.start(task.number, self.study.planned)
        if lost := self._mirror is None and begins_without_its_checkpoints(task.folder):
            self._progress.note(f"{self._progress.label(trial.task.number)}  {lost}")
        self._keep_journal()
        return Assignment.of_task(task, self._plan, self._stores(task)).to_plain()

    def after_epoch(self, trial_id: str, result: dict[str, Any]) -> str:
        """Take the report of an epoch, or the last report of a trial; returns Tune's word for how the trial continues.
        It does not continue once the search is to end: it waits inside its report, with its checkpoint on the disk."""
        report = decode(result)
        if not isinstance(report, EpochReport):
            return str(TrialScheduler.CONTINUE)
        trial, record = self._running[trial_id], report.record
        trial.silent = False
        self._progress.epoch(trial.task.number, record)
        with self._full_disk_halts():
            trial.pruned = self.study.report(trial.task.number, record, report.images)
        if trial.pruned:
            return str(TrialScheduler.STOP)
        trial.parked = self._ends() and record["epoch"] < trial.task.config.training.epochs
        return str(TrialScheduler.NOOP if trial.parked else TrialScheduler.CONTINUE)

    def between_steps(self, running: Iterable[str]) -> None:
        """Check what no trial reports.

        Args:
            running: Tune's ids of the trials that have a process.

        Raises:
            KeyboardInterrupt: the user stopped the search, and no epoch is running any more.
            RunFailed: no trial can continue, and no epoch is running any more.
        """
        if self._ends():
            if all(name in self._running and self._running[name].parked for name in running):
                raise RunFailed(self.halted) if self.halted else KeyboardInterrupt
            return
        silent = any(trial.silent for trial in self._running.values())
        if line := self._room.line(time.monotonic(), silent, what_waits_for_room):
            self._progress.note(f"waits: {line}")

    def restarted(self, trial_id: str, *, lost_node: bool) -> None:
        """Note that a trial was started again after its process died, alone or with its node."""
        trial = self._running[trial_id]
        self.study.count(trial.task.number, **{"preemptions" if lost_node else "restarts": 1})
        hung = count_hangs(trial.task.folder) > trial.hangs
        trial.hangs += hung
        reason = "lost its node" if lost_node else "hung (see hung.txt in its folder)" if hung else "lost its process"
        self._progress.note(f"{self._progress.label(trial.task.number)}  {reason}; {self._goes_on(trial.task)}")

    def node_was_lost(self, trial_id: str) -> None:
        """Note that the last restart of a trial was due to the loss of its node, so it does not count against the
        trial."""
        if trial_id in self._running:
            self.study.count(self._running[trial_id].task.number, restarts=-1, preemptions=1)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Does nothing: the scheduler, which Tune asks first, has handled the result."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the end of a trial, with a report that says how it ended, or without one."""
        trial = self._running.pop(trial_id)
        self._fetch(trial.task.number)
        with self._full_disk_halts():
            self._end(trial, decode(result), error)
        self._keep_journal()
        if not self._told_enough and (reason := self.study.enough()):
            self._told_enough = True
            self._progress.note(f"no further trial is started: {reason}")
        self._ask_for_no_more_than_is_left()

    def put_all_back(self, reason: str) -> bool:
        """Note that Tune has ended, and enqueue its trials again, from their last checkpoints, for another searcher;
        returns False if the search has to end, or a trial has used up its restarts."""
        if self._ends() or not self._running:
            return False
        self._progress.note(reason)
        for trial in self._running.values():
            if not self.study.put_back(trial.task.number):
                return False
            self._progress.note(f"{self._progress.label(trial.task.number)}  {self._goes_on(trial.task)}")
        return True

    def _end(self, trial: Running, last: Report | None, died: bool) -> None:
        """Tell the study how a trial ended. A trial that cannot continue at present stays as it is, to be resumed."""
        number, seconds = trial.task.number, time.perf_counter() - trial.started
        worker = last.worker if last is not None else "unknown"
        if trial.pruned:
            self._progress.prune(number, self.study.prune(number, seconds, worker))
        elif isinstance(last, TrialDone) and not died:
            self._complete(number, last)
        elif isinstance(last, TrialFailed) and not died:
            self._fail(number, last.reason, last.seconds, worker)
        elif isinstance(last, TrialHalted) and not died:
            self._halt(last.reason)
        elif died and (full := full_disk(self.study.folder)):
            self._halt(full)
        elif died and self._plan.workers == 1 and self.study.put_back(number):
            # Tune gives up a trial of which it hears twice that its process died, as when a node dies while it hands
            # the process over.
            self._progress.note(
                f"{self._progress.label(trial.task.number)}  lost its process twice; {self._goes_on(trial.task)}"
            )
        else:
            self._fail(number, cause_of_death(trial.task.folder), seconds, worker)

    def _ends(self) -> bool:
        """Whether the running trials are to end when their epochs do."""
        return self._stopped() or self.halted is not None

    def _halt(self, reason: str) -> None:
        """Note that no trial can continue at present, and let the running ones end their epochs."""
        if self.halted is None:
            self.halted = reason
            self._progress.note(reason)

    @contextlib.contextmanager
    def _full_disk_halts(self) -> Iterator[None]:
        """For blocks that write the study: a full disk, which Tune would take for the failure of one trial, ends the
        search."""
        try:
            yield
        except OSError as error:
            if (full := full_disk_of(error, self.study.folder)) is None:
                raise
            self._halt(full)

    def _goes_on(self, task: Task) -> str:
        """Where the next process of a trial will begin, in words; only the nodes know the checkpoints in a store."""
        return where_it_goes_on(task.folder) if self._mirror is None else "goes on from what its store has"

    def _keep_journal(self) -> None:
        """Copy the study to the run's store."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):  # it is brought again with the next trial
                self._mirror.push(lambda name: "/" not in name)

    def _ask_for_no_more_than_is_left(self) -> None:
        """Ask the autoscaler for fewer machines when fewer trials are left than they could run."""
        left = self.study.unfinished() + len(self._running)
        if left < self._plan.concurrent:
            request_room(self._plan, left)

    def _fetch(self, number: int) -> None:
        """Fetch the files of a trial from the store, without its checkpoints."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):  # it is fetched again when the search ends
                self._mirror.pull(
                    lambda name: is_of_worker(name) and not is_checkpoint(name),
                    part=trial_folder(Path(), number).as_posix(),
                )

    def _stores(self, task: Task) -> list[str]:
        """Addresses of the results of a trial, and of those of the failed trials that it tries again."""
        address = self._mirror.address if self._mirror is not None else None
        return [below(address, trial_folder(Path(), number).as_posix()) for number in task.lineage] if address else []

    def _complete(self, number: int, done: TrialDone) -> None:
        failure = self.study.complete(number, done.history, done.seconds, done.worker)
        if failure is None:
            self._progress.complete(number, self.study.value(number))
        else:
            self._progress.fail(number, failure)

    def _fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        self.study.fail(number, reason, seconds, worker)
        self._progress.fail(number, reason)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is on disk."""
        Path(checkpoint_path).write_text("the study journal is the state")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher into a state that is never read back."""
        return {}
