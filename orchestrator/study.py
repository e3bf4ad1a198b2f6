"""The durable study: which configurations were asked for, what became of them. Its journal in the run folder is the truth.

Nothing here knows Ray. Optuna writes the journal, so optuna-dashboard and every Optuna plot can read it while the search runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from orchestrator.experiment import Experiment, config_hash
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    from wsol.checkpoint import Record

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True, slots=True)
class Task:
    """One trial to run: its number, what to train, where its files go."""

    number: int
    config: TrainConfig
    folder: Path
    objective: str


class Study:
    """The trials of one run folder.

    Args:
        folder: the run folder, with `study.json`.
        experiment: what is searched.

    Raises:
        InputError: another process has the study open.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder, self.experiment = folder, experiment
        self._lock = _owned(folder)
        self._study = open_study(folder)
        self._interrupted = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
        self._running: dict[int, optuna.Trial] = {}

    @classmethod
    def create(cls, folder: Path, experiment: Experiment, header: dict[str, Any]) -> Study:
        """Begin a study: enqueue the published point as trial 0, then write the header, which makes the folder a run."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.journal").unlink(missing_ok=True)  # of a beginning that was cut off
        study = optuna.create_study(study_name=header["study_name"], storage=open_storage(folder), direction="maximize")
        study.enqueue_trial(experiment.space().point(experiment.base()), user_attrs={"origin": "published point"})
        write_text(folder / "study.json", json.dumps(header, indent=1))
        return cls(folder, experiment)

    def close(self) -> None:
        """Let other processes open the study."""
        self._lock.release()

    def ask(self) -> Task | None:
        """The next trial, interrupted ones first; None when as many as wanted are finished or running."""
        if self._interrupted:
            frozen = self._interrupted.pop(0)
            trial = optuna.Trial(self._study, frozen._trial_id)
        elif self._count_started() < self.experiment.study.trials:
            number = self._count_started()
            self._study.sampler = make_sampler(self.experiment.study.sampler, self.experiment.study.seed, number)
            trial = self._study.ask()
            trial.set_user_attr("started", _now())
        else:
            return None
        self._running[trial.number] = trial
        config = self.experiment.configure(self.experiment.space().suggest(trial, self.experiment.base()))
        trial.set_user_attr("config_hash", config_hash(config))
        return Task(trial.number, config, trial_folder(self.folder, trial.number), self.experiment.study.objective)

    def report(self, number: int, record: Record) -> None:
        """Keep the objective of an epoch. Epochs repeated after an interruption are kept once."""
        trial = self._running[number]
        if int(record["epoch"]) not in trial.storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(record["objective_now"], int(record["epoch"]))

    def complete(self, number: int, history: list[Record], seconds: float, worker: str) -> None:
        """A trial ended well: its value is the best objective it reached."""
        best = max(history, key=lambda record: record["objective_now"])
        trial = self._running.pop(number)
        self._describe(trial, seconds, worker, epochs=len(history), best_epoch=int(best["epoch"]), metrics=best)
        self._study.tell(trial, best["objective_now"])

    def fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        """A trial ended badly."""
        trial = self._running.pop(number)
        self._describe(trial, seconds, worker, failure=reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in the order of their numbers; only of some states if given."""
        return self._study.get_trials(deepcopy=False, states=states or None)

    def best(self) -> FrozenTrial | None:
        """The complete trial with the highest value, the first of equal ones."""
        return max(self.trials(TrialState.COMPLETE), key=lambda trial: trial.value or 0.0, default=None)

    def config_of(self, trial: FrozenTrial) -> TrainConfig:
        """The configuration that a recorded trial trained."""
        return self.experiment.configure(trial.params)

    def unfinished(self) -> int:
        """How many trials are still to be asked for or were interrupted."""
        return self.experiment.study.trials - self._count_started() + len(self._interrupted)

    def _count_started(self) -> int:
        return sum(trial.state != TrialState.WAITING for trial in self._study.get_trials(deepcopy=False))

    def _describe(self, trial: optuna.Trial, seconds: float, worker: str, **attributes: Any) -> None:
        for name, value in {"seconds": round(seconds, 3), "worker": worker, "ended": _now(), **attributes}.items():
            trial.set_user_attr(name, value)


def open_study(folder: Path) -> optuna.Study:
    """The Optuna study in a run folder.

    Raises:
        InputError: the folder holds no study.
    """
    header = folder / "study.json"
    if not header.exists() or not (folder / "study.journal").exists():
        raise InputError(f"{folder}: holds no study (no study.json and study.journal); give the folder of a run")
    return optuna.load_study(study_name=json.loads(header.read_text())["study_name"], storage=open_storage(folder))


def open_storage(folder: Path) -> JournalStorage:
    """Where Optuna keeps the studies of a run folder."""
    return JournalStorage(JournalFileBackend(str(folder / "study.journal")))


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for one trial.

    Its seed is a function of (study seed, trial number), so a resumed study goes on exactly like an uninterrupted one. The arguments are
    Optuna 5's defaults written out, so that another version does not change the trials silently.
    """
    derived = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    if name == "random":
        return optuna.samplers.RandomSampler(seed=derived)
    return optuna.samplers.TPESampler(seed=derived, n_startup_trials=10, n_ei_candidates=24, multivariate=True, constant_liar=True)


def trial_folder(folder: Path, number: int) -> Path:
    """Where the files of a trial are."""
    return folder / "trials" / f"{number:04d}"


def _owned(folder: Path) -> FileLock:
    """Lock the study for this process."""
    lock, owner = FileLock(folder / "study.lock"), folder / "study.owner"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = owner.read_text() if owner.exists() else "another process"
        raise InputError(f"{folder}: {who} is working on this study; wait for it or stop it first") from None
    owner.write_text(f"{socket.gethostname()}, process {os.getpid()}, since {_now()}")
    return lock


def _now() -> str:
    return datetime.fromtimestamp(time.time(), tz=UTC).isoformat(timespec="seconds")
