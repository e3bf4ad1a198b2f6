"""Runs several studies as one on the same machines: the next trial is drawn from the study with the largest share of
its trials left.

All studies therefore progress together, and no machine is idle when one study ends: it takes a trial of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.study.checkpoints import drop_checkpoints
from orchestrator.study.study import Study
from orchestrator.study.task import Task

if TYPE_CHECKING:
    from wsol.checkpoint import Record


@dataclass(slots=True)
class _Member:
    """One of the studies.

    Attributes:
        study: the study.
        is_followed: whether studies that are not known yet may follow it.
        running: how many of its trials are running.
    """

    study: Study
    is_followed: bool
    running: int = 0

    def share_left(self) -> float:
        """The share of its trials that has not begun yet."""
        return self.study.unfinished() / self.study.planned

    def is_through(self) -> bool:
        """Whether none of its trials is running or left."""
        return not self.running and not self.study.unfinished()


class Interleaved:
    """Several studies as one `Queue`. Trials are numbered in the order in which they begin.

    Args:
        folder: the campaign's folder.
        studies: name -> study.
        then: called once for each study when it has ended; returns the studies that follow it, by name.
        following: the largest number of trials in the studies that follow each study.
    """

    def __init__(
        self, folder: Path, studies: dict[str, Study], then: Callable[[str], dict[str, Study]], following: int = 0
    ) -> None:
        self.folder = folder
        self.max_failures = max(study.max_failures for study in studies.values())
        self.loggers = sorted({name for study in studies.values() for name in study.loggers})
        self._members = {name: _Member(study, is_followed=True) for name, study in studies.items()}
        self._then, self._following = then, following
        self._asked: list[tuple[str, int]] = []
        for name in studies:
            self._let_followers_in(name)
        self.planned = self.unfinished()

    def unfinished(self) -> int:
        """See `Queue.unfinished`."""
        members = self._members.values()
        followed = sum(member.is_followed for member in members)
        return sum(member.study.unfinished() for member in members) + self._following * followed

    def is_waiting(self) -> bool:
        """See `Queue.is_waiting`."""
        return self.unfinished() > 0

    def stopped(self) -> str | None:
        """See `Queue.stopped`. Nothing stops all studies: one whose trials fail ends alone."""
        return None

    def enough(self) -> str | None:
        """See `Queue.enough`. Each study ends alone."""
        return None

    def ask(self) -> Task | None:
        """See `Queue.ask`: the next trial of the study with the largest share left."""
        for name in sorted(self._members, key=lambda name: self._members[name].share_left(), reverse=True):
            task = self._members[name].study.ask()
            if task is not None:
                self._asked.append((name, task.number))
                self._members[name].running += 1
                return replace(task, number=len(self._asked) - 1)
            self._let_followers_in(name)  # all that was left repeats other trials
        return None

    def place(self, number: int) -> tuple[str, int]:
        """The name of the study of a trial, and its number there."""
        return self._asked[number]

    def report(self, number: int, record: Record, images: str = "") -> bool:
        """See `Queue.report`."""
        study, own = self._study_of(number)
        return study.report(own, record, images)

    def complete(self, number: int, history: list[Record], seconds: float, worker: str) -> str | None:
        """See `Queue.complete`. Checkpoints that cannot win any more are deleted at once, because all studies together
        have many."""
        study, own = self._study_of(number)
        failure = study.complete(own, history, seconds, worker)
        drop_checkpoints(study, study.folder)
        self._end(number)
        return failure

    def prune(self, number: int, seconds: float, worker: str) -> float:
        """See `Queue.prune`."""
        study, own = self._study_of(number)
        value = study.prune(own, seconds, worker)
        self._end(number)
        return value

    def fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        """See `Queue.fail`."""
        study, own = self._study_of(number)
        study.fail(own, reason, seconds, worker)
        self._end(number)

    def count(self, number: int, **changes: int) -> None:
        """See `Queue.count`."""
        study, own = self._study_of(number)
        study.count(own, **changes)

    def put_back(self, number: int) -> bool:
        """See `Queue.put_back`."""
        study, own = self._study_of(number)
        is_back = study.put_back(own)
        self._members[self.place(number)[0]].running -= is_back
        return is_back

    def value(self, number: int) -> float:
        """See `Queue.value`."""
        study, own = self._study_of(number)
        return study.value(own)

    def _study_of(self, number: int) -> tuple[Study, int]:
        name, own = self._asked[number]
        return self._members[name].study, own

    def _end(self, number: int) -> None:
        name, _ = self._asked[number]
        self._members[name].running -= 1
        self._let_followers_in(name)

    def _let_followers_in(self, name: str) -> None:
        """Add the studies that follow one when it has ended."""
        member = self._members[name]
        if member.is_followed and member.is_through():
            member.is_followed = False
            for follower, study in self._then(name).items():
                self._members[follower] = _Member(study, is_followed=False)
