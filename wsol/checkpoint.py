"""Checkpoints of one trial that survive a crash at any moment.

A folder holds `epoch-0003.pt` files and `manifest.json`, which has the record of every epoch and what was trained, and
names the latest and the best file with their SHA-256. A file is written under a temporary name, synced and renamed
*before* the manifest names it, and the manifest is replaced in one step: what the manifest names is complete.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from wsol.disk import full_disk_named
from wsol.errors import InputError, first_line, listed
from wsol.files import sha256, sync_and_rename, temporary_beside, write_text
from wsol.schema import differing

if TYPE_CHECKING:
    from wsol.config import TrainConfig

MANIFEST = "manifest.json"
"""The file in the folder of a training that describes its checkpoints; see `Checkpoints`."""


PREFIX = "epoch-"
"""Prefix of the names of the files with weights."""


Record = dict[str, float]
"""The record of an epoch: `epoch`, `objective` (of the epoch that counts so far, the best one or the last),
`objective_now`, `train/...`, `train_fullsup/...`; and, if it was scored under several settings that change no weight,
`SETTING` and `OWN`."""


SETTING = "post_hoc/setting"
"""The index of the best setting of an epoch among all settings; the record has its metrics."""


OWN = "post_hoc/own"
"""The objective of an epoch under the first setting, the one that is trained."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One checkpoint: file name, SHA-256 of its bytes, epoch (1-based) and the objective's value in that epoch."""

    file: str
    sha256: str
    epoch: int
    objective: float


class Checkpoints:
    """The checkpoints in a folder: the latest and the best one are kept, the records of all epochs, and what was
    trained.

    Args:
        folder: the folder, which is made on the first save.
        config: the configuration that is trained here; None: whichever was trained.

    Raises:
        InputError: the manifest is damaged, or the checkpoints are of another configuration.
    """

    def __init__(self, folder: Path, config: TrainConfig | None = None) -> None:
        self.folder = folder
        self.history: list[Record] = []
        self.latest: Entry | None = None
        self.best: Entry | None = None
        self.config = None if config is None else config.model_dump(mode="json")
        if (folder / MANIFEST).exists():
            trained = self._read()
            if config is not None and trained is not None and self.latest is not None:
                self._require_same(config, trained)
            self.config = self.config or trained

    def _read(self) -> dict[str, Any] | None:
        """Take over the content of the manifest; returns the trained configuration, which the first manifests do not
        have."""
        path = self.folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self.latest = Entry(**content["latest"]) if content["latest"] else None
            self.best = Entry(**content["best"]) if content["best"] else None
            self.history = [dict(record) for record in content["history"]]
            trained: dict[str, Any] | None = content.get("config")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: is damaged ({type(error).__name__}: {first_line(error)}); restore it from a copy, or delete"
                " it: then this training begins again at epoch 1"
            ) from None
        return trained

    def _require_same(self, config: TrainConfig, trained: dict[str, Any]) -> None:
        """Refuse to continue from weights of another configuration."""
        try:
            other = differing(config, type(config).model_validate(trained))
        except ValidationError as error:
            other = [first_line(error)]
        if other:
            raise InputError(
                f"{self.folder / MANIFEST}: these checkpoints are of another configuration ({listed(other)}); train in"
                " another folder, or delete this one"
            )

    def save(self, state: dict[str, Any], record: Record, *, best: bool) -> None:
        """Write a state (tensors, numbers, strings in dicts and lists) as the latest checkpoint and, if `best`, as the
        best one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        epoch = int(record["epoch"])
        path = self.folder / f"{PREFIX}{epoch:04d}.pt"
        self.latest = Entry(path.name, write_state(path, state), epoch, record["objective_now"])
        self.best = self.latest if best else self.best
        self.history = [*self.history[: epoch - 1], record]
        self._commit()

    def load(self, entry: Entry) -> dict[str, Any]:
        """Read a checkpoint on the CPU.

        Raises:
            InputError: the file is missing or its bytes are not the ones that were written.
        """
        return read_state(self.folder / entry.file, entry.sha256)

    def newest_intact(self) -> tuple[dict[str, Any], list[Record]] | None:
        """State and records of the latest checkpoint, of the best one if the latest is damaged, or None."""
        for entry in (self.latest, self.best):
            if entry is not None:
                try:
                    return self.load(entry), self.history[: entry.epoch]
                except InputError:
                    continue
        return None

    def epochs_kept(self) -> int:
        """Number of epochs after which a training continues from `newest_intact`; 0 if there is no intact
        checkpoint."""
        kept = (entry for entry in (self.latest, self.best) if entry is not None and self._is_intact(entry))
        return next((entry.epoch for entry in kept), 0)

    def _is_intact(self, entry: Entry) -> bool:
        try:
            return sha256(self.folder / entry.file) == entry.sha256
        except OSError:
            return False

    def drop_latest(self) -> None:
        """Forget the latest checkpoint unless it is the best: a finished trial needs only that one."""
        if self.latest != self.best:
            self.latest = self.best
            self._commit()

    def drop_all(self) -> None:
        """Forget everything; the next training in this folder starts from the beginning."""
        if self.latest is not None:
            self.latest, self.best, self.history = None, None, []
            self._commit()

    def _commit(self) -> None:
        content = {
            "latest": self.latest and asdict(self.latest),
            "best": self.best and asdict(self.best),
            "history": self.history,
            "config": self.config,
        }
        write_text(self.folder / MANIFEST, json.dumps(content, indent=1))
        kept = {entry.file for entry in (self.latest, self.best) if entry}
        left = self.folder.glob(f"{MANIFEST}.*")  # by a process that was killed while it wrote
        for path in (*self.folder.glob(f"{PREFIX}*"), *left):
            if path.name not in kept:
                path.unlink()


def write_state(path: Path, state: dict[str, Any]) -> str:
    """Save with `torch.save` under a temporary name, sync, rename; returns the SHA-256 of the file.

    It saves through an open file, because `torch.save` writes the name of a path into the content. The same state
    therefore has the same SHA-256 each time, which shows that a winner exported again is the one that was tested.
    """
    with temporary_beside(path) as temporary:
        with full_disk_named(path.parent), temporary.open("wb") as file:
            torch.save(state, file)
        digest = sha256(temporary)
        sync_and_rename(temporary, path)
    return digest


def holds_state(path: Path, state: Mapping[str, Any]) -> bool:
    """Whether a file holds a state with the same values and types, however it was packed; False if it cannot be
    read."""
    try:
        return _same(read_state(path), state)
    except (InputError, OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return False


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(type(one) is type(other) and one == other)


def read_state(path: Path, digest: str | None = None) -> dict[str, Any]:
    """Load a state on the CPU, tensors and plain values only (`weights_only`), after comparing its SHA-256 with
    `digest`.

    Raises:
        InputError: the file is missing, or is not the one that was written.
    """
    if not path.exists():
        raise InputError(f"{path}: the checkpoint is missing")
    if digest is not None and sha256(path) != digest:
        raise InputError(f"{path}: the checkpoint is damaged (its SHA-256 is not the recorded {digest[:12]}...)")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
