"""`test.json`: the record of all evaluations on the test split (here called looks), as they stand in the file.

The file is only changed under a lock and in one step. From another copy of the record, entries are only added.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from orchestrator.experiment.paths import Values
from orchestrator.runs import names
from wsol.errors import InputError, first_line
from wsol.files import write_text
from wsol.schema import first_problem

BEGUN, FINISHED, MAPS, SWEEP = "begun", "finished", "maps", "sweep"
"""States of a look: begun (cut off, or still going on); finished, with its numbers; maps, when saved maps were scored;
sweep, when many post-hoc settings were scored side by side."""

Entry = dict[str, Any]
"""A look as it stands in the file, including entries that other versions wrote."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the test split.

    Attributes:
        time: when it began; empty where unknown.
        checkpoint_sha256: SHA-256 of the weights that were scored.
        reason: why test was evaluated, if it was not the first time.
        state: `begun`, `finished`, `maps` or `sweep`.
        key: identifies the look; looks of older versions have none.
        by: host and process that looked.
        left: modification time, in nanoseconds, of the file of scores that existed when it began; None: there was none.
        saves_maps: whether raw maps were to be saved too.
        metrics, intervals, baseline: metric -> percent, its 95 % interval, the centre Gaussian.
        config: what was scored, with its post-hoc settings.
        training_images: the images it was trained on, in words.
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
        """When the look was, and how it ended, in words."""
        time = self.time or "at an unknown time"
        return {
            BEGUN: f"begun {time}, not finished",
            MAPS: f"{time}, of saved maps",
            SWEEP: f"{time}, a sweep of settings",
        }.get(self.state, time)


_ENTRY, _LOOK = TypeAdapter(Entry), TypeAdapter(Look)


def read_looks(folder: Path) -> list[Look]:
    """All looks, the oldest first, including those that were cut off. Raises InputError if the record is damaged."""
    return [look_of(entry) for entry in read_entries(folder)]


def look_of(entry: Entry) -> Look:
    """The look in an entry of the file, without fields of other versions."""
    return Look(**{name: value for name, value in entry.items() if name in Look.__slots__})


def read_entries(folder: Path) -> list[Entry]:
    """All entries, the oldest first. Raises InputError if the record is damaged."""
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


def change_entries(folder: Path, change: Callable[[list[Entry]], Sequence[Entry]]) -> None:
    """Read, change and write the record under its lock. A record without entries is not written."""
    with FileLock(folder / names.TEST_WRITE_LOCK):
        before = read_entries(folder)
        after = list(change(before))
        if after:
            write_text(folder / names.TESTS, _text(after))
        elif before:
            (folder / names.TESTS).unlink()


def _text(entries: Sequence[Entry]) -> str:
    return json.dumps({"evaluations": list(entries)}, indent=1)


def extend_record(folder: Path, text: str) -> None:
    """Add the looks of another copy of the record, such as the store's. If both have the same look, the finished entry
    is kept.

    Raises:
        InputError: one of the two is damaged.
    """
    try:
        others = _entries(text)
    except ValueError as error:
        raise InputError(
            f"{folder}: another copy of its {names.TESTS} is damaged ({first_line(error)}); repair that one first: it"
            " says how often the test split was looked at"
        ) from None
    change_entries(folder, lambda entries: _merged([*entries, *others]))


def _merged(entries: Sequence[Entry]) -> list[Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        name = str(entry.get("key") or f"{entry.get('time')} {entry.get('checkpoint_sha256')}")
        if name not in found or found[name].get("state") == BEGUN:
            found[name] = entry
    return sorted(found.values(), key=lambda entry: str(entry.get("time") or ""))
