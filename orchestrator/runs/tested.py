"""`test.json`: records every evaluation on the test split (a look), and enforces the rule that there is only one.

A look is recorded when it begins, before the first image is read, and completed when its numbers are known. A separate
lock is held in between, so that only one of several launchers looks. A look that was cut off counts, unless it left no
files: then nobody can have seen a number, and the next look takes its place. If all its numbers were written, it is
completed with them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock, Timeout

from orchestrator.formats import timestamp
from orchestrator.runs import names
from orchestrator.runs.looks import BEGUN, FINISHED, Entry, Look, change_entries, look_of, read_looks
from orchestrator.runs.scores import read_scores, scores_path
from wsol.errors import InputError

_NUMBERS = ("metrics", "intervals", "baseline", "config", "training_images")
"""The entries of a look that are known when it ends."""


@dataclass(frozen=True, slots=True)
class Looking:
    """A look at the test split that is going on.

    Attributes:
        folder: the run folder.
        key: identifies the look.
    """

    folder: Path
    key: str

    def complete(self, numbers: Mapping[str, Any]) -> None:
        """Record the results: `metrics`, `intervals`, `baseline`, `config`, `training_images`; see `Look`."""
        _complete(self.folder, self.key, numbers)


def looks_at_test(folder: Path) -> list[Look]:
    """All looks that count, the oldest first.

    Raises:
        InputError: the record is damaged.
    """
    return [look for look in read_looks(folder) if not _left_nothing(folder, look)]


def recorded_tests(folder: Path) -> list[Look]:
    """The finished evaluations of the run's own checkpoints on the test split, the oldest first.

    Raises:
        InputError: the record is damaged.
    """
    return [look for look in read_looks(folder) if look.state == FINISHED]


def final_test_of(folder: Path, checkpoint_sha256: str) -> Look | None:
    """The first finished evaluation of a checkpoint on the test split: more trials after it may have found another
    winner."""
    return next((look for look in recorded_tests(folder) if look.checkpoint_sha256 == checkpoint_sha256), None)


def require_untested(folder: Path, reason: str | None) -> None:
    """The test split is for one final number. Raises InputError if it was looked at before and no reason is given to do
    it again."""
    if (looks := looks_at_test(folder)) and not reason:
        raise InputError(
            f"{folder}: the test split was already evaluated ({', '.join(look.in_words() for look in looks)}); its"
            f" numbers are in {names.TESTS}. Evaluating again and choosing would bias the result; if you must:"
            ' --test-again "why", which is recorded'
        )


@contextmanager
def looking_at_test(
    folder: Path, checkpoint_sha256: str, reason: str | None, *, saves_maps: bool = False
) -> Iterator[Looking]:
    """Check that the test split may be evaluated, and record that it is.

    Args:
        folder: the run folder.
        checkpoint_sha256: SHA-256 of the weights that are scored.
        reason: why it is evaluated again, if it was before.
        saves_maps: whether raw maps are saved too.

    Raises:
        InputError: it was looked at before and no reason is given, or another process looks at it now.
    """
    with _only_one(folder):
        _complete_cut_off(folder)
        require_untested(folder, reason)
        key = _begin(folder, Look(timestamp(), checkpoint_sha256, reason, saves_maps=saves_maps))
        try:
            yield Looking(folder, key)
        except BaseException:
            change_entries(folder, lambda entries: [one for one in entries if not _is_withdrawn(folder, one, key)])
            raise


def complete_cut_off(folder: Path) -> Look | None:
    """Complete a look that was cut off after its numbers were written but before they were recorded. None if there is
    no such look.

    Raises:
        InputError: the record is damaged, or another process looks at the test split now.
    """
    if not any(look.state == BEGUN for look in read_looks(folder)):
        return None
    with _only_one(folder):
        return _complete_cut_off(folder)


def record_look(folder: Path, checkpoint_sha256: str, reason: str, state: str) -> None:
    """Record a look at the run's test split other than its one evaluation: `state` is `maps` or `sweep`."""
    entry = {"time": timestamp(), "checkpoint_sha256": checkpoint_sha256, "reason": reason, "state": state}
    change_entries(folder, lambda entries: [*entries, {**entry, "key": token_hex(8)}])


def _complete_cut_off(folder: Path) -> Look | None:
    try:
        left = read_scores(folder / names.WINNER, "test")
    except InputError:
        return None
    for look in read_looks(folder):
        if look.state == BEGUN and look.key and look.key == left.look and set(_NUMBERS) <= set(left.numbers):
            _complete(folder, look.key, left.numbers)
            return look
    return None


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock for evaluating the test split. Raises InputError if another process holds it."""
    lock = FileLock(folder / names.TEST_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: another process is evaluating its test split ({_latest_in_words(folder)}); wait for it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _begin(folder: Path, look: Look) -> str:
    """Record that a look begins, in place of looks that left no files; returns its key."""
    scores, key = scores_path(folder / names.WINNER, "test"), token_hex(8)
    entry = {
        "time": look.time,
        "checkpoint_sha256": look.checkpoint_sha256,
        "reason": look.reason,
        "state": BEGUN,
        "key": key,
        "by": f"{socket.gethostname()}, process {os.getpid()}",
        "left": scores.stat().st_mtime_ns if scores.exists() else None,
        "saves_maps": look.saves_maps,
    }
    change_entries(folder, lambda old: [*(one for one in old if not _left_nothing(folder, look_of(one))), entry])
    return key


def _complete(folder: Path, key: str, found: Mapping[str, Any]) -> None:
    numbers = {name: found[name] for name in _NUMBERS}

    def completed(entry: Entry) -> Entry:
        kept = {name: value for name, value in entry.items() if name not in ("left", "saves_maps")}
        return {**kept, "state": FINISHED, "ended": timestamp(), **numbers} if entry.get("key") == key else entry

    change_entries(folder, lambda entries: [completed(entry) for entry in entries])


def _is_withdrawn(folder: Path, entry: Entry, key: str) -> bool:
    return entry.get("key") == key and _left_nothing(folder, look_of(entry))


def _left_nothing(folder: Path, look: Look) -> bool:
    """Whether a look was cut off before it wrote a number or a map."""
    scores = scores_path(folder / names.WINNER, "test")
    now = scores.stat().st_mtime_ns if scores.exists() else None
    return look.state == BEGUN and not look.saves_maps and now == look.left


def _latest_in_words(folder: Path) -> str:
    looks = read_looks(folder)
    return f"{looks[-1].by}, since {looks[-1].time}" if looks and looks[-1].state == BEGUN else "just now"
