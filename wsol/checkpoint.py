"""Checkpoints of one trial that survive a crash at any moment.

A folder holds `epoch-0003.pt` files and `manifest.json`, which has the record of every epoch and names the latest and
the best file with their SHA-256. A file is written under a temporary name, synced and renamed *before* the manifest
names it, and the manifest is replaced in one step: what the manifest names is complete.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wsol.errors import InputError
from wsol.files import sha256, sync_and_rename, write_text

MANIFEST = "manifest.json"
"""In the folder of a training: what is known of it, see `Checkpoints`."""


PREFIX = "epoch-"
"""Begins the names of the files with weights."""


Record = dict[str, float]
"""What is known after an epoch: `epoch`, `objective` (of the epoch that counts so far, the best one or the last),
`objective_now`, `train/...`, `train_fullsup/...`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One checkpoint: file name, SHA-256 of its bytes, epoch (1-based) and the objective's value in that epoch."""

    file: str
    sha256: str
    epoch: int
    objective: float


class Checkpoints:
    """The checkpoints in a folder: the latest and the best one are kept, and the records of all epochs.

    Args:
        folder: made on the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history: list[Record] = []
        self.latest: Entry | None = None
        self.best: Entry | None = None
        manifest = folder / MANIFEST
        if manifest.exists():
            content = json.loads(manifest.read_text())
            self.history = content["history"]
            self.latest = Entry(**content["latest"]) if content["latest"] else None
            self.best = Entry(**content["best"]) if content["best"] else None

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
        """Epochs after which a training goes on from `newest_intact`; 0 where there is none."""
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
        }
        write_text(self.folder / MANIFEST, json.dumps(content, indent=1))
        kept = {entry.file for entry in (self.latest, self.best) if entry}
        for path in self.folder.glob(f"{PREFIX}*"):
            if path.name not in kept:
                path.unlink()


def write_state(path: Path, state: dict[str, Any]) -> str:
    """Save with `torch.save` under a temporary name, sync, rename; returns the SHA-256 of the file."""
    temporary = path.with_name(path.name + ".part")
    torch.save(state, temporary)
    digest = sha256(temporary)
    sync_and_rename(temporary, path)
    return digest


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
