"""One trial to run, and the interface of a queue of trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.experiment.paths import Values
from orchestrator.experiment.study_config import StudyConfig
from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.checkpoint import Record


@dataclass(frozen=True, slots=True)
class Task:
    """One trial to run.

    Attributes:
        number: the trial's number.
        config: the configuration to train.
        folder: the folder for its files.
        values: the searched values that were drawn.
        origin: the name of its point, or the sampler that drew it.
        study: the study's settings: objective and limits.
        lineage: its number and the numbers of the failed trials that it tries again, the latest first.
        longest_epoch: the longest epoch of the study so far, in seconds; None before the first.
        post_hoc: dotted path -> values; every epoch is scored with the best combination of them. Empty: as configured.
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
        """The first objective, which chooses the epoch."""
        return self.study.objectives[0]


class Queue(Protocol):
    """A queue of trials to run: one study, or several as one. The Ray Tune side (`orchestrator/trials/`) uses only
    this.

    A trial runs from `ask` until it is completed, pruned, failed or put back; exactly one of these ends it.

    Attributes:
        folder: where Tune may keep what it needs while the trials run.
        planned: how many trials there will be in all.
        max_failures: how often a trial whose process dies is started again.
        loggers: further loggers of the trials, names of `study.loggers`.
    """

    folder: Path

    @property
    def planned(self) -> int: ...

    @property
    def max_failures(self) -> int: ...

    @property
    def loggers(self) -> list[str]: ...

    def unfinished(self) -> int:
        """How many trials are left at most."""
        ...

    def is_waiting(self) -> bool:
        """Whether more trials may become available once running ones have ended."""
        ...

    def stopped(self) -> str | None:
        """The reason why a fault ends the search although trials are left; None if nothing is wrong."""
        ...

    def enough(self) -> str | None:
        """The reason why enough was found and no further trial is started; None while more are."""
        ...

    def ask(self) -> Task | None:
        """The next trial, which counts as running from now on; None if none is to be started now."""
        ...

    def report(self, number: int, record: Record, images: str = "") -> bool:
        """Record an epoch of a running trial; an epoch that was reported before is ignored. Returns whether the
        scheduler stops the trial.

        Args:
            number: the trial.
            record: its epoch.
            images: what each image adds to the objective, see `orchestrator/runs/by_image.py`; only for `race`.
        """
        ...

    def complete(self, number: int, history: list[Record], seconds: float, worker: str) -> str | None:
        """Record that a running trial has ended well; returns the reason if it counts as failed nevertheless, else
        None."""
        ...

    def prune(self, number: int, seconds: float, worker: str) -> float:
        """Record that a running trial was stopped, as `report` said; returns its last value."""
        ...

    def fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        """Record that a running trial has failed."""
        ...

    def put_back(self, number: int) -> bool:
        """Enqueue a running trial whose process died again; it continues from its last checkpoint. Returns False, and
        the trial still counts as running, if it has used up its restarts."""
        ...

    def count(self, number: int, **changes: int) -> None:
        """Add to the counters of a running trial: `restarts` and `preemptions`."""
        ...

    def value(self, number: int) -> float:
        """The value of a complete trial."""
        ...
