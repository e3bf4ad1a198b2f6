"""One trial to run, and the promise of whoever asks for trials and is told what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.experiment.model import StudyConfig
from orchestrator.experiment.paths import Values
from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.checkpoint import Record


@dataclass(frozen=True, slots=True)
class Task:
    """One trial to run.

    Attributes:
        number: the trial's number.
        config: what to train.
        folder: the folder for its files.
        values: the searched values that were drawn.
        origin: what it is called, or who drew it.
        study: objective and limits.
        lineage: its number, and those of the failed trials that it tries again, the latest first.
        longest_epoch: the longest epoch of the study so far, in seconds; None before the first.
        post_hoc: dotted path -> values: every epoch is scored under the best combination; empty: as configured.
    """

    number: int
    config: TrainConfig
    folder: Path
    values: Values
    origin: str
    study: StudyConfig
    lineage: list[int]
    longest_epoch: float | None = None
    post_hoc: Mapping[str, list[Any]] = field(default_factory=dict)

    @property
    def objective(self) -> str:
        """The first one, which chooses the epoch."""
        return self.study.objectives[0]


class Queue(Protocol):
    """Whoever has trials to run: one study, or several as one. Ray Tune's side (`orchestrator/trials/`) knows no more.

    A trial that was asked for is running until it is completed, pruned, failed or put back; each of these ends it once.

    Attributes:
        folder: where Tune may keep what it needs while the trials run.
        planned: how many trials there will be in all.
        max_failures: how often a trial whose process dies is started again.
        loggers: who is told of the trials too: names of `study.loggers`.
    """

    folder: Path

    @property
    def planned(self) -> int: ...

    @property
    def max_failures(self) -> int: ...

    @property
    def loggers(self) -> list[str]: ...

    def unfinished(self) -> int:
        """How many trials are still to be asked for, at most."""
        ...

    def is_waiting(self) -> bool:
        """Whether there may be more to ask for once running trials have ended."""
        ...

    def stopped(self) -> str | None:
        """Why no trial is started any more although some are left; None if nothing is wrong."""
        ...

    def enough(self) -> str | None:
        """Why no trial is to be started any more although some are left, and all is well; None while more are."""
        ...

    def ask(self) -> Task | None:
        """The next trial, which is running from now on; None when no more is to be started now."""
        ...

    def report(self, number: int, record: Record) -> bool:
        """An epoch of a running trial has ended; one that was reported before is passed over. Returns whether the trial
        is to be stopped."""
        ...

    def complete(self, number: int, history: list[Record], seconds: float, worker: str) -> str | None:
        """A running trial has ended well; returns why it counts as failed all the same, or None."""
        ...

    def prune(self, number: int, seconds: float, worker: str) -> float:
        """A running trial was stopped as `report` said; returns its last value."""
        ...

    def fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        """A running trial has ended badly."""
        ...

    def put_back(self, number: int) -> bool:
        """The process of a running trial died: it is to be asked for again and goes on from its last checkpoint.
        False, with the trial still running, where it has used up its restarts."""
        ...

    def count(self, number: int, **changes: int) -> None:
        """Add to what is counted of a running trial: `restarts` and `preemptions`."""
        ...

    def value(self, number: int) -> float:
        """The value of a complete trial."""
        ...
