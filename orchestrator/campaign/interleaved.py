"""Several studies as one, for one set of machines: whoever has the largest share of its trials left is asked next.

So all of them make progress together, and no machine is idle at the end of one of them: it takes a trial of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.study.checkpoints import drop_checkpoints
from orchestrator.study.study import Study
from orchestrator.study.task import Task

if TYPE_CHECKING:
    from wsol.checkpoint import Record


class Interleaved:
    """What `orchestrator.tuning` asks and tells, over several studies. Trials are numbered in the order in which they
    are asked for.

    Args:
        folder: of the campaign.
        studies: name -> study.
        then: called once for each of them when it is through; returns the studies that follow it, by name.
        following: how many trials those have at most, of each.
    """

    def __init__(
        self, folder: Path, studies: dict[str, Study], then: Callable[[str], dict[str, Study]], following: int = 0
    ) -> None:
        self.folder, self.max_failures = folder, max(study.max_failures for study in studies.values())
        self.loggers = sorted({name for study in studies.values() for name in study.loggers})
        self._studies, self._then, self._following = dict(studies), then, following
        self._ahead = dict(studies)  # those that others may follow
        self._asked: list[tuple[str, int]] = []
        self._running = dict.fromkeys(studies, 0)
        for name in studies:
            self._go_on_behind(name)
        self.planned = self.unfinished()

    def unfinished(self) -> int:
        """How many trials are still to be asked for, at most."""
        return sum(study.unfinished() for study in self._studies.values()) + self._following * len(self._ahead)

    def is_waiting(self) -> bool:
        """Whether there may be more to ask for once running trials have ended."""
        return self.unfinished() > 0

    def stopped(self) -> str | None:
        """Nothing stops all of them: one whose trials fail ends alone."""
        return None

    def ask(self) -> Task | None:
        """The next trial of the study with the largest share left; None where no study has one now."""
        for name in sorted(self._studies, key=self._left, reverse=True):
            task = self._studies[name].ask()
            if task is not None:
                self._asked.append((name, task.number))
                self._running[name] += 1
                return replace(task, number=len(self._asked) - 1)
            self._go_on_behind(name)  # all that was left repeats other trials
        return None

    def place(self, number: int) -> tuple[str, int]:
        """The name of the study of a trial, and its number there."""
        return self._asked[number]

    def report(self, number: int, record: Record) -> bool:
        """See `Study.report`."""
        name, own = self._asked[number]
        return self._studies[name].report(own, record)

    def complete(self, number: int, history: list[Record], seconds: float, worker: str) -> str | None:
        """See `Study.complete`. Checkpoints that can not win any more go at once: all studies together have many."""
        name, own = self._asked[number]
        failure = self._studies[name].complete(own, history, seconds, worker)
        drop_checkpoints(self._studies[name], self._studies[name].folder)
        self._end(name)
        return failure

    def prune(self, number: int, seconds: float, worker: str) -> float:
        """See `Study.prune`."""
        name, own = self._asked[number]
        value = self._studies[name].prune(own, seconds, worker)
        self._end(name)
        return value

    def fail(self, number: int, reason: str, seconds: float, worker: str) -> None:
        """See `Study.fail`."""
        name, own = self._asked[number]
        self._studies[name].fail(own, reason, seconds, worker)
        self._end(name)

    def count(self, number: int, **changes: int) -> None:
        """See `Study.count`."""
        name, own = self._asked[number]
        self._studies[name].count(own, **changes)

    def put_back(self, number: int) -> bool:
        """See `Study.put_back`."""
        name, own = self._asked[number]
        if not self._studies[name].put_back(own):
            return False
        self._running[name] -= 1
        return True

    def value(self, number: int) -> float:
        """Of a complete trial."""
        name, own = self._asked[number]
        return self._studies[name].value(own)

    def _left(self, name: str) -> float:
        return self._studies[name].unfinished() / self._studies[name].planned

    def _end(self, name: str) -> None:
        self._running[name] -= 1
        self._go_on_behind(name)

    def _go_on_behind(self, name: str) -> None:
        """Let the studies in that follow one which is through."""
        if name in self._ahead and not self._running[name] and not self._studies[name].unfinished():
            del self._ahead[name]
            followers = self._then(name)
            self._studies.update(followers)
            self._running.update(dict.fromkeys(followers, 0))
