"""Ends a trial that finishes no epoch for too long: the stacks of its threads go to `hung.txt` in its folder, then its
process exits.

To the search this is a process that died: the trial is started again from its newest checkpoint. The clock is a thread
that does not need the interpreter's lock, so it also ends a process whose native code never returns. A whole machine
that hangs is noticed by Ray's heartbeats.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.runs import names

FACTOR = 10


FLOOR = 30 * 60.0


SIGN = "Timeout ("
"""The beginning of every entry of the file."""


class Watchdog:
    """Ends this process unless it is fed in time.

    Args:
        folder: the trial's folder.
        minutes: the process ends after so many minutes without an epoch; None: `limit` of the longest epoch.
        longest: duration of the longest known epoch, in seconds.
        rank: the number of this process among those that train together; each has its file.
    """

    def __init__(self, folder: Path, minutes: float | None, longest: float | None, rank: int = 0) -> None:
        self.path = folder / names.hung_file(rank)
        self.minutes, self.longest = minutes, longest

    def __enter__(self) -> Watchdog:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a")
        self._arm()
        return self

    def __exit__(self, *error: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        if not self.path.stat().st_size:
            self.path.unlink()

    @contextmanager
    def resting(self, seconds: float) -> Iterator[None]:
        """Note that an epoch of so many seconds has ended, and pause the clock: a process that waits for the search may
        wait as long as it takes."""
        self.longest = max(self.longest or 0.0, seconds)
        faulthandler.cancel_dump_traceback_later()
        yield
        self._arm()

    def _arm(self) -> None:
        seconds = seconds_allowed(self.minutes, self.longest)
        if seconds is not None:
            faulthandler.dump_traceback_later(seconds, exit=True, file=self._file)


def seconds_allowed(minutes: float | None, longest: float | None) -> float | None:
    """Seconds without an epoch after which a trial counts as hung; None: not known yet."""
    if minutes is not None:
        return minutes * 60
    return None if longest is None else max(FLOOR, FACTOR * longest)


def longest_epoch(records: Iterable[dict[str, float]]) -> float | None:
    """Duration of the longest epoch in seconds; None if none is known."""
    return max((record["seconds"] for record in records if "seconds" in record), default=None)


def count_hangs(folder: Path) -> int:
    """How often the trial of a folder was ended because it hung."""
    return max((path.read_text(errors="replace").count(SIGN) for path in folder.glob(names.HUNG_OF_ANY)), default=0)
