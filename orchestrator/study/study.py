"""The durable study: which configurations were drawn, and how their trials ended. Its state is the journal in the run
folder, nothing else.

Nothing here knows Ray. Optuna writes the journal, so optuna-dashboard and every Optuna plot can read it while the
search runs. A trial is one of Optuna's: RUNNING (or interrupted, until the study is resumed), COMPLETE with the best
value it reached, PRUNED where the scheduler stopped it, with its last value, or FAIL with the reason. (With
`training.checkpoint: last`, the value of the last epoch takes the place of the best one.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from filelock import FileLock
from optuna.trial import TrialState

from orchestrator.experiment.model import Experiment, config_hash
from orchestrator.experiment.paths import Values
from orchestrator.formats import timestamp
from orchestrator.runs.by_image import ImageNumbers
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.header import read_header
from orchestrator.runs.journal import repair_journal
from orchestrator.runs.lock import owned
from orchestrator.runs.tensorboard import write_begin
from orchestrator.study.clock import StudyClock
from orchestrator.study.enough import Limits
from orchestrator.study.epochs import finite_epochs, keep_epoch
from orchestrator.study.opening import OPENING_FAILURES, Opening
from orchestrator.study.points import shuffled_grid
from orchestrator.study.pruners import make_pruner
from orchestrator.study.recorded import Recorded
from orchestrator.study.samplers import SAMPLERS, make_sampler
from orchestrator.study.task import Task
from orchestrator.study.trained import require_as_trained
from orchestrator.study.trial_folders import note_begun, note_ended, take_folder
from orchestrator.study.watchdog import count_hangs, longest_epoch
from wsol.checkpoint import Checkpoints
from wsol.errors import InputError

if TYPE_CHECKING:
    from wsol.checkpoint import Record


class Study(Recorded):
    """The trials of one run folder: hands out new ones (ask), and records how they go (tell).

    Args:
        folder: the run folder, with `study.json`.
        experiment: the experiment that is searched.

    Attributes:
        gives_up: whether no trial is started any more when the first ones of a session all fail alike. Not where all
            are drawn: several rates in a row can be too high.

    Raises:
        InputError: another process has the study open.
    """

    gives_up = True

    def __init__(self, folder: Path, experiment: Experiment, lock: FileLock | None = None) -> None:
        self._lock = lock or owned(folder)
        try:
            repair_journal(folder)
            super().__init__(folder, experiment)
            header = read_header(folder)
            require_as_trained(self, header)
        except BaseException:
            self._lock.release()
            raise
        self._sampler_arguments = header.sampler_arguments or SAMPLERS[experiment.study.sampler]
        self._images = ImageNumbers(folder)
        self._pruner = make_pruner(experiment.study.scheduler, header.scheduler_arguments or {}, self._images)
        self._interrupted = self.trials(TrialState.RUNNING)
        self._running: dict[int, optuna.Trial] = {}
        self._epochs: dict[int, int] = {}  # of each running trial; they may be searched
        self._repeating: dict[int, list[optuna.Trial]] = {}
        self._grid = shuffled_grid(experiment) if experiment.study.sampler == "grid" else []
        self._opening = Opening()
        self.longest_epoch = longest_epoch(trial.user_attrs.get("metrics", {}) for trial in self.trials())
        self._clock, self._limits = StudyClock(self._study), Limits(experiment.study)

    def close(self) -> None:
        """Close the study, so that other processes can open it."""
        self._lock.release()

    def ask(self) -> Task | None:
        """The next trial, interrupted ones first; None if none is to be started now.

        A configuration is not trained twice: a trial that repeats another one ends as that one does.
        """
        while (trial := self._next()) is not None:
            frozen = trial.storage.get_trial(trial._trial_id)
            extra = frozen.user_attrs.get("values", {})
            values = self.experiment.space().suggest(trial, self.experiment.plain(extra))
            config = self.experiment.configure({**extra, **values})
            trial.set_user_attr("config_hash", config_hash(config))
            twin = self._first_with(config_hash(config), trial.number)
            if twin is None:
                self._running[trial.number] = trial
                self._epochs[trial.number] = config.training.epochs
                self._opening.begun(trial.number)
                origin = frozen.user_attrs.get("origin", self.experiment.study.sampler)
                folder = take_folder(self, frozen)
                write_begin(folder, config, {**extra, **values})
                limits, lineage = self.experiment.study, self.lineage(trial.number)
                grid, slowest = self.experiment.chosen_by_trials, self.longest_epoch
                return Task(trial.number, config, folder, values, origin, limits, lineage, slowest, grid)
            trial.set_user_attr("repeats", twin.number)
            self._repeating.setdefault(twin.number, []).append(trial)
            if twin.state != TrialState.RUNNING:
                self._end_repeats(twin.number)
        return None

    def report(self, number: int, record: Record, images: str = "") -> bool:
        """Record the objective of an epoch; epochs that are repeated after an interruption are recorded once. Returns
        whether the scheduler stops the trial. See `Queue.report`."""
        trial = self._running[number]
        self.longest_epoch = longest_epoch([record, {"seconds": self.longest_epoch or 0.0}])
        self._clock.keep()
        if images:
            self._images.add(number, int(record["epoch"]), images)
        if not keep_epoch(trial, record):
            return False
        is_last = record["epoch"] >= self._epochs[number]
        return not is_last and self._pruner.prune(self._study, trial.storage.get_trial(trial._trial_id))

    def complete(self, number: int, history: list[Record], seconds: float, worker: str) -> str | None:
        """Record that a trial ended well. Its value is the best objective it reached, or the last one if the last
        checkpoint counts. If that is not a number, the trial has failed; returns the reason."""
        objectives, last = self.experiment.study.objectives, self._takes_last(number)
        finite = finite_epochs(history, objectives)
        if not finite or (last and finite[-1] is not history[-1]):
            when = "the last" if last else "any"
            reason = f"{', '.join(objectives)}: not a finite number in {when} of {len(history)} epochs"
            self.fail(number, reason, seconds, worker)
            return reason
        for record in finite:  # a machine may have been lost between an epoch's checkpoint and its report
            keep_epoch(self._running[number], record)
        best = finite[-1] if last else max(finite, key=lambda record: record["objective_now"])
        facts = {"epochs": len(history), "best_epoch": int(best["epoch"]), "metrics": best}
        facts |= self.choice_in(number, best)
        self._end(
            number, TrialState.COMPLETE, [best[name] for name in objectives], seconds=seconds, worker=worker, **facts
        )
        return None

    def prune(self, number: int, seconds: float, worker: str) -> float:
        """Record that the scheduler stopped a trial, which cannot win then; returns its value, the last one
        reported."""
        trial = self._running[number]
        values = trial.storage.get_trial(trial._trial_id).intermediate_values
        self._end(number, TrialState.PRUNED, None, seconds=seconds, worker=worker, epochs=max(values))
        Checkpoints(trial_folder(self.folder, number)).drop_latest()
        return values[max(values)]

    def fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        """Record that a trial failed."""
        self._end(number, TrialState.FAIL, None, seconds=seconds, worker=worker, failure=reason)

    def count(self, number: int, **changes: int) -> None:
        """Add to the counters of a running trial: `restarts` (its process died) and `preemptions` (its node was
        lost)."""
        trial = self._running[number]
        _describe(trial, **{name: trial.user_attrs.get(name, 0) + change for name, change in changes.items()})

    def put_back(self, number: int) -> bool:
        """Enqueue a trial whose process died again, from its last checkpoint; returns False if it has used up its
        restarts."""
        if self.trials()[number].user_attrs.get("restarts", 0) >= self.max_failures:
            return False
        self.count(number, restarts=1)
        del self._running[number]
        self._interrupted.append(self.trials()[number])
        return True

    def retry(self, numbers: Sequence[int] | None = None) -> list[int]:
        """Enqueue failed trials again: each gets a new trial with the same values, from its last checkpoint. Trials
        that are enqueued already stay as they are.

        Args:
            numbers: the trials, by number; None: all that failed.

        Returns:
            The trials that were enqueued by this call.

        Raises:
            InputError: one of them did not fail.
        """
        failed = {trial.number: trial for trial in self.failed()}
        known = {trial.number for trial in self.trials(TrialState.FAIL)}
        if wrong := [number for number in numbers or () if number not in known]:
            raise InputError(
                f"{self.folder}: trial {wrong[0]} did not fail; failed are"
                f" {', '.join(map(str, sorted(known))) or 'none'}"
            )
        chosen = [trial for number, trial in failed.items() if numbers is None or number in numbers]
        for trial in chosen:
            kept: Values = {
                name: trial.user_attrs[name] for name in ("origin", "source", "values") if name in trial.user_attrs
            }
            self._study.enqueue_trial(trial.params, user_attrs=kept | {"retry_of": trial.number})
        return [trial.number for trial in chosen]

    @property
    def planned(self) -> int:
        """How many trials there will be, counting failed ones and the trials that try them again."""
        return self.experiment.study.trials + len(self.trials(TrialState.FAIL)) - len(self.failed())

    @property
    def max_failures(self) -> int:
        """How often a trial whose process dies is started again."""
        return self.experiment.study.max_failures

    @property
    def loggers(self) -> list[str]:
        """The further loggers of its trials."""
        return list(self.experiment.study.loggers)

    def is_waiting(self) -> bool:
        """Whether more trials may become available once running ones have ended."""
        return False

    def unfinished(self) -> int:
        """How many trials are left: not yet begun, or interrupted."""
        more = 0 if self.stopped() or self.enough() else max(self.experiment.study.trials - self._count_started(), 0)
        if self.experiment.study.sampler == "grid":
            more = min(more, len(self._waiting()) + len(self._untried(self._grid)))
        return more + len(self._interrupted)

    def enough(self) -> str | None:
        """The reason why the study has found enough and starts no further trial; None while it starts more."""
        is_left = self._count_started() < self.experiment.study.trials
        return self._limits.reached(self.trials(), self._clock.seconds()) if is_left else None

    def stopped(self) -> str | None:
        """The reason why a fault ends the study although trials are left; None if nothing is wrong."""
        if self._count_started() >= self.experiment.study.trials:
            return None
        failed, allowed = len(self.failed()), self.experiment.study.max_failed_trials
        if allowed is not None and failed >= allowed:
            last = self.trials(TrialState.FAIL)[-1].user_attrs["failure"]
            return f"{failed} trials failed (study.max_failed_trials: {allowed}), the last one with: {last}"
        if self.gives_up and self._opening.all_failed_alike():
            return f"the first {OPENING_FAILURES} trials all failed alike:\n{self._full_failure()}"
        return None

    def _next(self) -> optuna.Trial | None:
        """The next trial: an interrupted one, else an enqueued one, else a new one."""
        if self._interrupted:
            frozen = self._interrupted.pop(0)
            self._study.sampler = self._sampler(frozen.number)
            return optuna.Trial(self._study, frozen._trial_id)
        if not self.unfinished():
            return None
        if self._grid and not self._waiting():
            self._study.enqueue_trial(self._untried(self._grid)[0])
        self._study.sampler = self._sampler(next((trial.number for trial in self._waiting()), len(self.trials())))
        trial = self._study.ask()
        trial.set_user_attr("started", timestamp())
        return trial

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        return make_sampler(self.experiment.study.sampler, self._sampler_arguments, self.experiment.study.seed, number)

    def _end(self, number: int, state: TrialState, values: list[float] | None, seconds: float, **facts: Any) -> None:
        trial = self._running.pop(number)
        if hung := count_hangs(trial_folder(self.folder, number)):
            facts["hung"] = hung
        _describe(trial, seconds=round(seconds, 3), ended=timestamp(), **facts)
        self._study.tell(trial, values, state=state)
        note_ended(self, self.trials()[number])
        self._opening.ended(number, facts.get("failure"), facts["worker"])
        self._end_repeats(number)

    def _end_repeats(self, number: int) -> None:
        """End the trials that repeat an ended one, each as that one ended."""
        ended = self.trials()[number]
        facts = {
            name: value
            for name, value in ended.user_attrs.items()
            if name in ("epochs", "best_epoch", "metrics", "post_hoc", "worker", "failure")
        }
        for trial in self._repeating.pop(number, []):
            for epoch, value in ended.intermediate_values.items():
                trial.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            _describe(trial, seconds=0.0, ended=timestamp(), **facts)
            self._study.tell(trial, ended.values if ended.state == TrialState.COMPLETE else None, state=ended.state)
            note_begun(self, self.trials()[trial.number])
            note_ended(self, self.trials()[trial.number])


def _describe(trial: optuna.Trial, **attributes: Any) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
