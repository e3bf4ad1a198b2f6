"""`test.json`: every look at the test split that ever was, and the rule that one is enough.

A look is written down when it begins, before the first image is read, and completed when its numbers are known; a
lock of its own is held meanwhile, so that of several launchers one looks. A look that was cut off counts, unless
nothing was left of it: then nobody can have seen a number, and the next one takes its place.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from orchestrator.experiment.paths import Values
from orchestrator.formats import timestamp
from orchestrator.runs import names
from orchestrator.runs.scores import scores_path
from wsol.errors import InputError, first_line
from wsol.files import write_text
from wsol.schema import first_problem

BEGUN, FINISHED, MAPS, SWEEP = "begun", "finished", "maps", "sweep"
"""States of a look: cut off, or still going on; with its numbers; of saved maps, which were scored again; of many
post-hoc settings side by side."""

Entry = dict[str, Any]
"""A look as it stands in the file, with entries of other versions."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the test split.

    Attributes:
        time: when it began; empty where unknown.
        checkpoint_sha256: of the weights that were scored.
        reason: why, if it was not the first one.
        state: `begun`, `finished`, `maps` or `sweep`.
        key: tells it from all others; those of older versions have none.
        by: host and process.
        left: nanoseconds of the file of scores that was there when it began; None: there was none.
        saves_maps: whether maps were to be saved on the way.
        metrics, intervals, baseline: metric -> percent, its 95 % interval, the centre Gaussian.
        config: what was scored, with its post-hoc settings.
        training_images: what it was trained on, in words.
    """

    time: str = ""
    checkpoint_sha256: str = ""
    reason: str | None = None
    state: str = FINISHED
    key: str = ""
    by: str = ""
    left: int | None = None
    saves_maps: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    config: Values = field(default_factory=dict)
    training_images: str = ""

    def in_words(self) -> str:
        """When it was, and how it ended."""
        time = self.time or "at an unknown time"
        return {
            BEGUN: f"begun {time}, not finished",
            MAPS: f"{time}, of saved maps",
            SWEEP: f"{time}, a sweep of settings",
        }.get(self.state, time)


_ENTRY, _LOOK = TypeAdapter(Entry), TypeAdapter(Look)


def looks_at_test(folder: Path) -> list[Look]:
    """All looks that count, the oldest first.

    Raises:
        InputError: the record is damaged.
    """
    return [look for look in _looks(folder) if not _left_nothing(folder, look)]


def recorded_tests(folder: Path) -> list[Look]:
    """The finished evaluations of the run's own checkpoints on the test split, the oldest first.

    Raises:
        InputError: the record is damaged.
    """
    return [look for look in _looks(folder) if look.state == FINISHED]


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
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Check that the test split may be looked at, write down that it is, and give a function that records the numbers.

    Args:
        folder: of the run.
        checkpoint_sha256: of the weights that are scored.
        reason: why, if it was looked at before.
        saves_maps: whether maps are saved on the way.

    Raises:
        InputError: it was looked at before and no reason is given, or another process looks at it now.
    """
    lock = FileLock(folder / names.TEST_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: another process is evaluating its test split ({_latest_in_words(folder)}); wait for it"
        ) from None
    try:
        require_untested(folder, reason)
        key = _begin(folder, Look(timestamp(), checkpoint_sha256, reason, saves_maps=saves_maps))
        try:
            yield lambda measured: _complete(folder, key, measured)
        except BaseException:
            _change(folder, lambda entries: [entry for entry in entries if not _is_withdrawn(folder, entry, key)])
            raise
    finally:
        lock.release()


def record_look(folder: Path, checkpoint_sha256: str, reason: str, state: str) -> None:
    """The run's test split is looked at otherwise than by its one evaluation: `state` is `maps` or `sweep`."""
    entry = {"time": timestamp(), "checkpoint_sha256": checkpoint_sha256, "reason": reason, "state": state}
    _change(folder, lambda entries: [*entries, {**entry, "key": token_hex(8)}])


def extend_record(folder: Path, text: str) -> None:
    """Add the looks of another copy of the record, such as the store's: of the same look, the finished entry counts.

    Raises:
        InputError: one of the two is damaged.
    """
    try:
        others = _entries(text)
    except ValueError as error:
        raise InputError(
            f"{folder}: another copy of its {names.TESTS} is damaged ({first_line(error)}); mend that one first: it"
            " says how often the test split was looked at"
        ) from None
    _change(folder, lambda entries: _merged([*entries, *others]))


def _merged(entries: Sequence[Entry]) -> list[Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        name = str(entry.get("key") or f"{entry.get('time')} {entry.get('checkpoint_sha256')}")
        if name not in found or found[name].get("state") == BEGUN:
            found[name] = entry
    return sorted(found.values(), key=lambda entry: str(entry.get("time") or ""))


def _begin(folder: Path, look: Look) -> str:
    """Write down that a look begins, in place of those that left nothing; returns its key."""
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
    _change(folder, lambda old: [*(one for one in old if not _left_nothing(folder, _look(one))), entry])
    return key


def _complete(folder: Path, key: str, measured: Mapping[str, Any]) -> None:
    numbers = {name: measured[name] for name in ("metrics", "intervals", "baseline", "config", "training_images")}

    def completed(entry: Entry) -> Entry:
        kept = {name: value for name, value in entry.items() if name not in ("left", "saves_maps")}
        return {**kept, "state": FINISHED, "ended": timestamp(), **numbers} if entry.get("key") == key else entry

    _change(folder, lambda entries: [completed(entry) for entry in entries])


def _is_withdrawn(folder: Path, entry: Entry, key: str) -> bool:
    return entry.get("key") == key and _left_nothing(folder, _look(entry))


def _left_nothing(folder: Path, look: Look) -> bool:
    """Whether a look was cut off before it wrote a number or a map."""
    scores = scores_path(folder / names.WINNER, "test")
    now = scores.stat().st_mtime_ns if scores.exists() else None
    return look.state == BEGUN and not look.saves_maps and now == look.left


def _latest_in_words(folder: Path) -> str:
    looks = _looks(folder)
    return f"{looks[-1].by}, since {looks[-1].time}" if looks and looks[-1].state == BEGUN else "just now"


def _looks(folder: Path) -> list[Look]:
    return [_look(entry) for entry in read_entries(folder)]


def _look(entry: Entry) -> Look:
    return Look(**{name: value for name, value in entry.items() if name in Look.__slots__})


def read_entries(folder: Path) -> list[Entry]:
    path = folder / names.TESTS
    try:
        return _entries(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise InputError(
            f"{path}: is damaged ({first_line(error)}); restore it from a copy: it says how often the test split was"
            " looked at"
        ) from None


def _entries(text: str) -> list[Entry]:
    content = json.loads(text)
    if not isinstance(content, dict) or not isinstance(content.get("evaluations"), list):
        raise ValueError("no list of evaluations")
    try:
        for entry in content["evaluations"]:
            _ENTRY.validate_python(entry)
            _LOOK.validate_python({name: entry[name] for name in Look.__slots__ if name in entry})
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    return list(content["evaluations"])


def _change(folder: Path, change: Callable[[list[Entry]], Sequence[Entry]]) -> None:
    """Read, change and write the record while nobody else does; one without an entry is no file."""
    with FileLock(folder / names.TEST_WRITE_LOCK):
        before = read_entries(folder)
        after = list(change(before))
        if after:
            write_text(folder / names.TESTS, _text(after))
        elif before:
            (folder / names.TESTS).unlink()


def _text(entries: Sequence[Entry]) -> str:
    return json.dumps({"evaluations": list(entries)}, indent=1)
