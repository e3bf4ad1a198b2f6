"""The durable study: which configurations were asked for, what became of them. Its journal in the run folder is the
truth.

Nothing here knows Ray. Optuna writes the journal, so optuna-dashboard and every Optuna plot can read it while the
search runs. A trial is one of Optuna's: RUNNING (or interrupted, until the study is resumed), COMPLETE with the best
value it reached, PRUNED where the scheduler stopped it, with its last value, or FAIL with the reason. (The best value:
of the last epoch where `training.checkpoint` is `last`.)
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.experiment.model import Experiment, config_hash
from orchestrator.formats import timestamp
from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.journal import open_storage, repair_journal
from orchestrator.runs.lock import owned
from orchestrator.runs.tensorboard import write_begin, write_end
from orchestrator.study.points import Candidate, published_points, shuffled_grid
from orchestrator.study.pruners import make_pruner, scheduler_arguments
from orchestrator.study.recorded import Recorded
from orchestrator.study.samplers import SAMPLERS, make_sampler
from orchestrator.study.task import Task
from orchestrator.study.watchdog import count_hangs, longest_epoch
from wsol.checkpoint import Checkpoints
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    from wsol.checkpoint import Record


OPENING_FAILURES = 3  # so many trials that fail alike at the start of a session end it


class Study(Recorded):
    """The trials of one run folder, and what is asked and told of them.

    Args:
        folder: the run folder, with `study.json`.
        experiment: what is searched.

    Attributes:
        gives_up: whether no trial is started any more when the first ones of a session all fail alike. Not where all
            are drawn: several rates in a row can be too high.

    Raises:
        InputError: another process has the study open.
    """

    gives_up = True

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self._lock = owned(folder)
        repair_journal(folder)
        super().__init__(folder, experiment)
        header = json.loads((folder / names.HEADER).read_text())
        self._sampler_arguments = header.get("sampler_arguments", SAMPLERS[experiment.study.sampler])
        self._pruner = make_pruner(experiment.study.scheduler, header.get("scheduler_arguments", {}))
        self._interrupted = self.trials(TrialState.RUNNING)
        self._running: dict[int, optuna.Trial] = {}
        self._repeating: dict[int, list[optuna.Trial]] = {}
        self._grid = shuffled_grid(experiment) if experiment.study.sampler == "grid" else []
        self._reasons: dict[
            int, str | None
        ] = {}  # why the trials that were asked for in this session failed; None for the others
        self.longest_epoch = longest_epoch(trial.user_attrs.get("metrics", {}) for trial in self.trials())
        self._opened = time.monotonic()
        self._seconds_before = self._seconds_kept = float(self._study.user_attrs.get("seconds", 0.0))

    @classmethod
    def create(
        cls, folder: Path, experiment: Experiment, header: dict[str, Any], candidates: Sequence[Candidate] | None = None
    ) -> Study:
        """Begin a study: enqueue what is tried first, then write the header, which makes the folder a run.

        Args:
            folder: the run folder.
            experiment: what is searched.
            header: `study.json`.
            candidates: by default `trial` and the named points of the experiment.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / names.JOURNAL).unlink(missing_ok=True)  # of a beginning that was cut off
        repair_journal(folder)
        directions = [optuna.study.StudyDirection.MAXIMIZE] * len(experiment.study.objectives)
        study = optuna.create_study(
            study_name=header["study_name"], storage=open_storage(folder), directions=directions
        )
        for candidate in published_points(experiment) if candidates is None else candidates:
            study.enqueue_trial(candidate.params, user_attrs=candidate.attributes())
        header = {
            **header,
            "sampler_arguments": SAMPLERS[experiment.study.sampler],
            "scheduler_arguments": scheduler_arguments(experiment),
        }
        write_text(folder / names.HEADER, json.dumps(header, indent=1))
        return cls(folder, experiment)

    def close(self) -> None:
        """Let other processes open the study."""
        self._lock.release()

    def ask(self) -> Task | None:
        """The next trial, interrupted ones first; None when no more is to be started now.

        A configuration that a trial has, or had, is not trained again: the trial that repeats it ends as the other one
        does.
        """
        while (trial := self._next()) is not None:
            frozen = trial.storage.get_trial(trial._trial_id)
            extra = frozen.user_attrs.get("values", {})
            values = self.experiment.space().suggest(trial, self.experiment.plain(extra))
            config = self.experiment.configure({**extra, **values})
            trial.set_user_attr("config_hash", config_hash(config))
            twin = self._first_with(config_hash(config), trial.number)
            if twin is None:
                self._running[trial.number], self._reasons[trial.number] = trial, None
                origin = frozen.user_attrs.get("origin", self.experiment.study.sampler)
                folder = self._folder(trial)
                write_begin(folder, config, {**extra, **values})
                limits, lineage = self.experiment.study, self.lineage(trial.number)
                return Task(trial.number, config, folder, values, origin, limits, lineage, self.longest_epoch)
            trial.set_user_attr("repeats", twin.number)
            self._repeating.setdefault(twin.number, []).append(trial)
            if twin.state != TrialState.RUNNING:
                self._end_repeats(twin.number)
        return None

    def report(self, number: int, record: Record) -> bool:
        """Keep the objective of an epoch; epochs repeated after an interruption are kept once. Returns whether the
        trial is to be stopped."""
        trial = self._running[number]
        self.longest_epoch = longest_epoch([record, {"seconds": self.longest_epoch or 0.0}])
        self._keep_time()
        if not _keep_epoch(trial, record):
            return False
        last = record["epoch"] >= self.experiment.trial.training.epochs
        return (
            self._pruner is not None
            and not last
            and self._pruner.prune(self._study, trial.storage.get_trial(trial._trial_id))
        )

    def complete(self, number: int, history: list[Record], seconds: float, worker: str) -> str | None:
        """A trial ended well: its value is the best objective it reached, or the last one where the last checkpoint
        counts. If that is no number it failed; returns the reason."""
        objectives, last = self.experiment.study.objectives, self._takes_last(number)
        finite = [
            record for record in history if all(_is_number(record.get(name)) for name in ("objective_now", *objectives))
        ]
        if not finite or (last and finite[-1] is not history[-1]):
            when = "the last" if last else "any"
            reason = f"{', '.join(objectives)}: not a finite number in {when} of {len(history)} epochs"
            self.fail(number, reason, seconds, worker)
            return reason
        for record in finite:  # a machine may have been lost between an epoch's checkpoint and its report
            _keep_epoch(self._running[number], record)
        best = finite[-1] if last else max(finite, key=lambda record: record["objective_now"])
        facts = {"epochs": len(history), "best_epoch": int(best["epoch"]), "metrics": best}
        self._end(
            number, TrialState.COMPLETE, [best[name] for name in objectives], seconds=seconds, worker=worker, **facts
        )
        return None

    def prune(self, number: int, seconds: float, worker: str) -> float:
        """The scheduler stopped a trial: its value is its last one, which is returned. It can not win."""
        trial = self._running[number]
        values = trial.storage.get_trial(trial._trial_id).intermediate_values
        self._end(number, TrialState.PRUNED, None, seconds=seconds, worker=worker, epochs=max(values))
        Checkpoints(self._folder(trial)).drop_latest()
        return values[max(values)]

    def fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        """A trial ended badly."""
        self._end(number, TrialState.FAIL, None, seconds=seconds, worker=worker, failure=reason)

    def count(self, number: int, **changes: int) -> None:
        """Add to what is counted of a running trial: `restarts` (its process died) and `preemptions` (its node did)."""
        trial = self._running[number]
        _describe(trial, **{name: trial.user_attrs.get(name, 0) + change for name, change in changes.items()})

    def put_back(self, number: int) -> bool:
        """A trial whose process died is to be asked for again, from its last checkpoint; False if it has used up its
        restarts."""
        if self.trials()[number].user_attrs.get("restarts", 0) >= self.max_failures:
            return False
        self.count(number, restarts=1)
        del self._running[number]
        self._interrupted.append(self.trials()[number])
        return True

    def retry(self, numbers: Sequence[int] | None = None) -> list[int]:
        """Put failed trials back: each is asked for again with its values, from its last checkpoint. What is put back
        already stays as it is.

        Args:
            numbers: which; None: all that failed.

        Returns:
            The trials that were put back now.

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
            kept: dict[str, Any] = {
                name: trial.user_attrs[name] for name in ("origin", "source", "values") if name in trial.user_attrs
            }
            self._study.enqueue_trial(trial.params, user_attrs=kept | {"retry_of": trial.number})
        return [trial.number for trial in chosen]

    @property
    def planned(self) -> int:
        """How many trials there will be, with those that failed and were put back."""
        return self.experiment.study.trials + len(self.trials(TrialState.FAIL)) - len(self.failed())

    @property
    def max_failures(self) -> int:
        """How often a trial whose process dies is started again."""
        return self.experiment.study.max_failures

    @property
    def loggers(self) -> list[str]:
        """Who is told of its trials too."""
        return list(self.experiment.study.loggers)

    def is_waiting(self) -> bool:
        """Whether there may be more to ask for once running trials have ended."""
        return False

    def unfinished(self) -> int:
        """How many trials are still to be asked for or were interrupted."""
        more = (
            0 if self.stopped() or self.out_of_time() else max(self.experiment.study.trials - self._count_started(), 0)
        )
        if self.experiment.study.sampler == "grid":
            more = min(more, len(self._waiting()) + len(self._untried(self._grid)))
        return more + len(self._interrupted)

    def out_of_time(self) -> bool:
        """Whether the hours of the study are spent."""
        hours = self.experiment.study.hours
        return hours is not None and self._seconds() >= hours * 3600

    def stopped(self) -> str | None:
        """Why no trial is started any more although some are left; None if nothing is wrong."""
        if self._count_started() >= self.experiment.study.trials:
            return None
        failed, allowed = len(self.failed()), self.experiment.study.max_failed_trials
        if allowed is not None and failed >= allowed:
            last = self.trials(TrialState.FAIL)[-1].user_attrs["failure"]
            return f"{failed} trials failed (study.max_failed_trials: {allowed}), the last one with: {last}"
        opening = list(self._reasons.values())[:OPENING_FAILURES]
        alike = {_without_numbers(str(reason)) for reason in opening}
        if self.gives_up and len(opening) == OPENING_FAILURES and None not in opening and len(alike) == 1:
            return f"the first {OPENING_FAILURES} trials all failed alike:\n{self._full_failure()}"
        return None

    def _next(self) -> optuna.Trial | None:
        """An interrupted trial, else one that is enqueued, else a new one."""
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
        write_end(self._folder(trial), state != TrialState.FAIL, facts.get("metrics", {}), facts.get("best_epoch", 0))
        self._reasons[number] = _without_node(facts)
        self._end_repeats(number)

    def _end_repeats(self, number: int) -> None:
        """End the trials that repeat an ended one as it ended."""
        ended = self.trials()[number]
        facts = {
            name: value
            for name, value in ended.user_attrs.items()
            if name in ("epochs", "best_epoch", "metrics", "worker", "failure")
        }
        for trial in self._repeating.pop(number, []):
            for epoch, value in ended.intermediate_values.items():
                trial.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            _describe(trial, seconds=0.0, ended=timestamp(), **facts)
            self._study.tell(trial, ended.values if ended.state == TrialState.COMPLETE else None, state=ended.state)
            self._note_ended(self.trials()[trial.number])

    def _note_ended(self, trial: FrozenTrial) -> None:
        """TensorBoard's record of an ended trial without a process of its own."""
        folder = trial_folder(self.folder, trial.number)
        write_begin(folder, self.config_of(trial), {**trial.user_attrs.get("values", {}), **trial.params})
        write_end(
            folder,
            trial.state != TrialState.FAIL,
            trial.user_attrs.get("metrics", {}),
            trial.user_attrs.get("best_epoch", 0),
        )

    def _folder(self, trial: optuna.Trial) -> Path:
        """Where a trial's files go; the ones of a failed trial that it tries again move there."""
        folder, failed = trial_folder(self.folder, trial.number), trial.user_attrs.get("retry_of")
        if failed is not None and not folder.exists() and trial_folder(self.folder, failed).exists():
            trial_folder(self.folder, failed).rename(folder)
            self._note_ended(self.trials()[failed])
            for path in folder.glob(names.HUNG_OF_ANY):
                path.rename(trial_folder(self.folder, failed) / path.name)
        return folder

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._opened

    def _keep_time(self) -> None:
        """Write the study's seconds into the journal when a minute has passed."""
        if self._seconds() - self._seconds_kept > 60:
            self._seconds_kept = self._seconds()
            self._study.set_user_attr("seconds", round(self._seconds_kept, 1))


def preview(experiment: Experiment, count: int) -> list[Task]:
    """The first points that a study would ask for, without an outcome of any."""
    with TemporaryDirectory() as folder:
        study = Study.create(Path(folder), experiment, {"study_name": "preview"})
        tasks = [task for _ in range(count) if (task := study.ask()) is not None]
        study.close()
    return tasks


def _describe(trial: optuna.Trial, **attributes: Any) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)


def _keep_epoch(trial: optuna.Trial, record: Record) -> bool:
    """Write the objective of an epoch into the journal; False if it is there already, or is not a number."""
    value, epoch = record["objective_now"], int(record["epoch"])
    if not _is_number(value) or epoch in trial.storage.get_trial(trial._trial_id).intermediate_values:
        return False
    trial.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)  # trial.report refuses several objectives
    return True


def _is_number(value: Any) -> bool:
    """Whether a metric can be compared; a plugin may return anything."""
    return isinstance(value, int | float) and math.isfinite(value)


def _without_node(facts: dict[str, Any]) -> str | None:
    """Why a trial failed, if it did, on whichever node."""
    failure: str | None = facts.get("failure")
    return failure and failure.removeprefix(f"{facts['worker'].partition(':')[0]}: ")


def _without_numbers(reason: str) -> str:
    """What failures have in common that differ in an epoch, a rate, or in how a loss left the numbers."""
    return re.sub(r"\d[\d.e+-]*|\b(nan|inf)\b", "#", reason)
