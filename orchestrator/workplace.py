"""Where a trial, or a measurement, works on its node: in the run folder where the node sees it, else in a scratch
folder with a store behind it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any

import yaml

from orchestrator.journal import trial_folder
from orchestrator.storage import Mirror, of_worker
from wsol.addresses import below
from wsol.errors import InputError

ERROR = "error.txt"
"""The traceback of a trial that died, in its folder."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a trial leaves its files on this node.

    Attributes:
        folder: of its files, with what is known of it already.
        mirror: to where they outlive the node; None: the folder is one that all nodes see.
    """

    folder: Path
    mirror: Mirror | None

    def save(self, *, first: bool) -> None:
        """Bring to safety what the first worker of a trial left, or the last words of another one."""
        if self.mirror is not None and first:
            self.mirror.push_all()
        elif self.mirror is not None:
            self.mirror.push(lambda name: name == ERROR)


@contextmanager
def workplace(wire: dict[str, Any]) -> Iterator[Workplace]:
    """Make a trial at home on this node.

    Args:
        wire: the trial, see `trial.to_wire`.

    Raises:
        InputError: this node does not see what it should; names node and path.
    """
    folder, stores = Path(wire["folder"]), wire["stores"]
    enter(wire["directory"], required=not stores)
    if not stores:
        if not (folder.parent.parent / "study.json").exists():
            raise blind(folder.parent.parent)
        yield Workplace(folder, None)
        return
    with scratch() as here:
        mirror = Mirror(stores[0], here)
        mirror.pull(of_worker)
        for failed in stores[1:]:  # what a trial that is tried again had reached
            if not (here / "manifest.json").exists():
                Mirror(failed, here).pull(of_worker)
        _require_own(here, wire["config"])
        yield Workplace(here, mirror)


def _require_own(folder: Path, config: str) -> None:
    """Start from nothing where the results are of another configuration: the store's copy of the journal is older than
    they are."""
    trained = folder / "config.yaml"
    if trained.exists() and yaml.safe_load(trained.read_text()) != json.loads(config):
        for path in folder.iterdir():
            path.unlink()


def enter(directory: str, *, required: bool) -> None:
    """Go where the search was started, so that relative paths mean the same; a node that has no such folder can only
    stay where it is."""
    if Path(directory).is_dir():
        os.chdir(directory)
    elif required:
        raise blind(Path(directory))


def blind(folder: Path) -> InputError:
    """This node does not see a folder that it should."""
    return InputError(
        f"{socket.gethostname()}: {folder}: this node does not see this folder, in which the search runs; start it in a"
        " folder that every node sees (submit --storage DIR), or give the results a store:"
        " resources.storage=s3://bucket/prefix"
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this process on this node's disk; those of processes that were killed are removed on the way."""
    for left in Path(gettempdir()).glob("wsol-scratch-*"):
        if not _alive(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(mkdtemp(prefix=f"wsol-scratch-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_in_scratch(request: dict[str, Any]) -> dict[str, Any]:
    """`measure` on a node that does not see the run folder: the winner, its rivals and what is measured travel through
    the store.

    Args:
        request: see `orchestrator.measure.measure`; and `store`, the address of the run.
    """
    from orchestrator.measure import measure

    address = request["store"]
    enter(request["directory"], required=False)
    with scratch() as folder:
        best = Mirror(below(address, "best"), folder / "best")
        best.pull()
        rivals = []
        for rival in request.get("rivals", []):
            place = trial_folder(Path(), rival["number"])
            Mirror(below(address, place.as_posix()), folder / place).pull()
            rivals.append({**rival, "folder": str(folder / place)})
        measured = measure({**request, "folder": str(folder), "directory": ".", "rivals": rivals})
        best.push()
    return measured


def _alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        try:
            os.kill(process, 0)
        except PermissionError:
            return True
        return True
    return False
