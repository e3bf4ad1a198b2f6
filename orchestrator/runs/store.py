"""Results in an object store, `resources.storage`: for clusters whose nodes share no folder.

`<storage>/<run>/` is a copy of the run folder. A trial works in a scratch folder of its node; its files are copied to
the store before an epoch is reported, and fetched from there when the trial continues, on whichever node. The study's
journal stays in the run folder of the driver, and is copied to the store after every trial. The driver fetches what it
shows (no checkpoints) when a trial ends, and the checkpoints that are kept when the search ends.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from uuid import uuid4

from orchestrator.runs import names
from orchestrator.runs.header import read_header
from orchestrator.runs.lock import locked_new, was_worked_on_here
from orchestrator.runs.looks import extend_record
from orchestrator.runs.tensorboard import BEGIN, END
from wsol.addresses import below, open_address, unreachable
from wsol.checkpoint import MANIFEST, PREFIX
from wsol.errors import InputError
from wsol.files import TEMPORARY, temporary_beside

if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment


THREADS = 8


PIECE = 16 * 2**20

TRIES = 5
"""How often a file is read again when it is replaced while it is read."""


OURS_ALONE = (".lock", ".owner", TEMPORARY, ".tune")
"""Endings of the names of files and folders that are not copied."""


Filter = Callable[[str], bool]


def anything(name: str) -> bool:
    """Accept every file."""
    return True


class Mirror:
    """A folder on this machine and its copy in a store. Only changed files are copied; files that name others come
    last: a manifest, then the header of a run.

    Args:
        address: the address of the copy.
        folder: the folder on this machine.

    Raises:
        InputError: the address cannot be used. Later errors of the store are raised as they are (OSError), because they
            may be temporary.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self._filesystem, self._base = open_address(address)
        self._alike: dict[str, tuple[int, int]] = {}  # name -> size and time here of what is the same there

    def pull(self, wanted: Filter = anything, part: str = "") -> None:
        """Fetch files.

        Args:
            wanted: decides which files, by their names relative to the folder.
            part: look into this folder only.
        """
        self._each(self._fetch, [name for name in self._there(part) if wanted(name)])

    def push(self, wanted: Filter = anything) -> None:
        """Copy changed files to the store.

        Args:
            wanted: decides which files, by their names relative to the folder.
        """
        self._each(
            self._bring, [name for name in self._here() if wanted(name) and self._alike.get(name) != self._stamp(name)]
        )

    def push_all(self) -> None:
        """Copy all changed files to the store; checkpoints that were deleted here are deleted there, too."""
        self.push()
        here = set(self._here())
        for name in self._there(""):
            if is_checkpoint(name) and name not in here:
                self._filesystem.delete_file(f"{self._base}/{name}")

    def _each(self, function: Callable[[str], None], files: list[str]) -> None:
        for turn in range(3):
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(function, [name for name in files if _turn(name) == turn]))

    def _here(self) -> Iterator[str]:
        for place, folders, files in os.walk(self.folder):  # folders may vanish meanwhile
            folders[:] = [name for name in folders if not name.endswith(OURS_ALONE)]
            yield from (
                Path(place, name).relative_to(self.folder).as_posix() for name in files if not name.endswith(OURS_ALONE)
            )

    def _there(self, part: str) -> list[str]:
        from pyarrow.fs import FileSelector

        found = self._filesystem.get_file_info(
            FileSelector(f"{self._base}/{part}".rstrip("/"), recursive=True, allow_not_found=True)
        )
        return [
            info.path.removeprefix(f"{self._base}/")
            for info in found
            if info.is_file and not info.path.endswith(OURS_ALONE)
        ]

    def _fetch(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == names.TESTS and path.exists():
            extend_record(self.folder, self._text(name))
            return  # it may be longer here, so it is brought when files are
        with temporary_beside(path) as temporary:
            with temporary.open("wb") as target:
                self._read(name, target)
            temporary.replace(path)
        self._alike[name] = self._stamp(name)

    def _text(self, name: str) -> str:
        with BytesIO() as content:
            self._read(name, content)
            return content.getvalue().decode("utf-8", errors="replace")

    def _read(self, name: str, target: BinaryIO) -> None:
        """Copy one version of a file of the store. A reader asks for the file's size first, and would get a part of the
        next version if the file is replaced in between."""
        there = f"{self._base}/{name}"
        for _ in range(TRIES):
            before = self._filesystem.get_file_info(there)
            target.seek(0)
            target.truncate()
            with self._filesystem.open_input_stream(there, compression=None) as source:
                shutil.copyfileobj(source, target, PIECE)
            after = self._filesystem.get_file_info(there)
            if (before.size, before.mtime_ns) == (after.size, after.mtime_ns) and target.tell() == after.size:
                return
        raise OSError(f"{there}: is replaced faster than it can be read")

    def _bring(self, name: str) -> None:
        if name == names.TESTS and self._filesystem.get_file_info(f"{self._base}/{name}").is_file:
            extend_record(self.folder, self._text(name))  # what the store knows is never replaced by less
        stamp, there = self._stamp(name), f"{self._base}/{name}"
        local = (
            self._filesystem.type_name == "local"
        )  # a store shows an object when it is whole; a file grows before everybody's eyes
        unfinished = f".{uuid4().hex[:8]}{TEMPORARY}" * local
        if local:
            self._filesystem.create_dir(str(PurePosixPath(there).parent))
        with (
            (self.folder / name).open("rb") as source,
            self._filesystem.open_output_stream(there + unfinished, compression=None) as target,
        ):
            shutil.copyfileobj(source, target, PIECE)
        if local:
            self._filesystem.move(there + unfinished, there)
        self._alike[name] = stamp

    def _stamp(self, name: str) -> tuple[int, int]:
        status = (self.folder / name).stat()
        return status.st_size, status.st_mtime_ns


def _turn(name: str) -> int:
    """The order in which files are copied: those that name others come after them, and the one that makes a folder a
    run comes last."""
    return 2 if name == names.HEADER else int(name.endswith(MANIFEST))


def is_checkpoint(name: str) -> bool:
    """Whether a file is a checkpoint, which is large."""
    return PurePosixPath(name).name.startswith(PREFIX)


def is_of_worker(name: str) -> bool:
    """Whether a trial's file was written by the process that trains; the driver writes the others, about its beginning
    and end."""
    return not name.endswith((BEGIN, END))


def store_of_run(folder: Path, experiment: Experiment) -> Mirror | None:
    """The store of a run, where it has one.

    Args:
        folder: the run folder, with its header.
        experiment: the run's experiment.
    """
    storage = experiment.resources.storage
    return Mirror(below(storage, read_header(folder).study_name), folder) if storage else None


def require_own_store(folder: Path, experiment: Experiment) -> None:
    """Raises InputError if continuing a run from another machine would send results to an address that only its folder
    names."""
    if (mirror := store_of_run(folder, experiment)) and not was_worked_on_here(folder):
        raise InputError(
            f"{folder}: its results would go to {mirror.address}, which the folder names, and it was not worked on"
            f" here; if that is yours, go on in a new folder: python launch.py resume DIR --from {mirror.address}"
        )


def require_free_store(storage: str | None, name: str) -> None:
    """Test a store before anything starts.

    Args:
        storage: the address; None: there is no store to test.
        name: the run's name.

    Raises:
        InputError: it cannot be written, or holds a run of that name.
    """
    if storage is None:
        return
    probe_store(storage)
    address = below(storage, name)
    filesystem, path = open_address(address)
    if filesystem.get_file_info(f"{path}/{names.HEADER}").is_file:
        raise InputError(
            f"{address}: holds a run already; go on with `python launch.py resume DIR --from {address}`, or choose"
            " another --run"
        )


def probe_store(storage: str) -> str:
    """Write a word to a store and read it back; returns this node's name.

    Raises:
        InputError: this fails; the message names the node.
    """
    filesystem, base = open_address(storage)
    path, word = f"{base}/.wsol-check-{uuid4().hex[:8]}", socket.gethostname()
    try:
        if filesystem.type_name == "local":
            filesystem.create_dir(base)
        with filesystem.open_output_stream(path) as stream:
            stream.write(word.encode())
        with filesystem.open_input_stream(path) as stream:
            found = stream.read().decode()
        filesystem.delete_file(path)
    except OSError as error:
        raise unreachable(storage, error) from None
    if found != word:
        raise InputError(f"{word}: {storage}: gave back something else than was written")
    return word


def restore_run(address: str, folder: Path) -> None:
    """Make a run folder from a store; checkpoints stay there until they are needed.

    Args:
        address: the address of the run: `<storage>/<run>`.
        folder: must not hold a run.

    Raises:
        InputError: there is no run at the address, or one in the folder.
    """
    with locked_new(folder):
        try:
            Mirror(address, folder).pull(lambda name: not is_checkpoint(name))
        except OSError as error:
            raise unreachable(address, error) from None
        finally:  # nothing but what the store has is left, no folder where it has nothing
            for name in (names.OWNER, names.LOCK):
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
    if not (folder / names.HEADER).exists():
        raise InputError(
            f"{address}: holds no run (no {names.HEADER}); it should end in the name of one, as in"
            " s3://bucket/prefix/cam_cub"
        )
