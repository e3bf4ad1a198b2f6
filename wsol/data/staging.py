"""Keeps data that a node reads often on the node's own disk: `data.stage`. The first process of the node copies them,
and the others wait and share them.

A `root` that is a folder which all nodes see stays where it is; only the packed images (see `wsol/data/images.py`),
read in every epoch, are copied. A `root` that is an archive, on such a folder or in an object store, is unpacked once:
one long read instead of a million small ones.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from wsol.addresses import last_name, open_address
from wsol.console import say
from wsol.data import archives
from wsol.errors import InputError, first_line
from wsol.files import sync_and_rename
from wsol.schema import DatasetConfig, is_archive

FOLDERS = ("images", "metadata", "masks")
"""Settings of data sets that name folders."""

READ_BYTES = 16 * 2**20  # of one request to an object store


def staged(config: DatasetConfig) -> DatasetConfig:
    """The configuration whose folders are on this node: with an archive as `root`, its `root` is the folder into which
    it is unpacked.

    Relative `images`, `metadata` and `masks` of a data set then start there.

    Raises:
        InputError: the archive is missing or damaged, or there is no room for it; the message names the node.
    """
    if not is_archive(config.root):
        return config
    assert config.stage is not None
    folder = _unpacked(config.root, Path(config.stage))
    inside = {name: str(folder / path) for name in FOLDERS if (path := getattr(config, name, None))}
    return config.model_copy(update={"root": str(folder), "stage": None, **inside})


def local_copy(source: Path, stage: Path) -> Path:
    """The copy of a packed file on this node. Its name carries the fingerprint of the images; copies of earlier
    versions are deleted.

    Args:
        source: `<split>-<size>-<fingerprint>.uint8`, which another node may have written.
        stage: a folder on this node's disk.

    Raises:
        InputError: there is no room for it; the message names the node.
    """
    folder = stage / _digest(str(source.parent.resolve()))
    target, size = folder / source.name, source.stat().st_size
    stem = source.name.rpartition("-")[0]

    def bring() -> None:
        _require_room(folder, size)
        _say(f"copying {source} to {target}")
        temporary = target.with_name(f"{target.name}.part")
        shutil.copyfile(source, temporary)
        sync_and_rename(temporary, target)
        for other in folder.glob(f"{stem}-*.uint8"):
            if other != target:
                other.unlink()

    _once(folder / f"{stem}.lock", lambda: target.exists() and target.stat().st_size == size, bring)
    return target


def _unpacked(archive: str, stage: Path) -> Path:
    """The folder of an archive on this node; its name carries the archive's address, size and time."""
    filesystem, path = open_address(archive)
    info = filesystem.get_file_info(path)
    if not info.is_file:
        raise InputError(f"{socket.gethostname()}: {archive}: no such archive, data.root names it")
    stem = last_name(archive).removesuffix(".tar")
    folder = stage / f"{stem}-{_digest(f'{archive} {info.size} {info.mtime_ns}')}"

    def bring() -> None:
        _require_room(stage, info.size)
        _say(f"unpacking {archive} ({info.size / 1e9:.1f} GB) to {folder}")
        temporary = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with (
                filesystem.open_input_stream(path, buffer_size=READ_BYTES) as stream,
                tarfile.open(fileobj=stream, mode="r|", tarinfo=archives.StrictHeader) as tar,
            ):
                archives.unpack_tar(tar, temporary, archive, info.size)
        except archives.DAMAGED as error:
            raise InputError(
                f"{archive}: is no readable .tar ({first_line(error)}); make it anew: tar -cf {stem}.tar -C ROOT"
                " FOLDERS"
            ) from None
        temporary.rename(folder)

    _once(stage / f"{stem}.lock", folder.exists, bring)
    return folder


def _once(lock: Path, there: Callable[[], bool], bring: Callable[[], None]) -> None:
    """Bring something to this node unless it is there, one process at a time."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not there():
                bring()
    except OSError as error:
        raise InputError(
            f"{socket.gethostname()}: {lock.parent}: data.stage cannot be used ({error}); name a folder with room on"
            " every node's own disk"
        ) from None


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(f"{size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _say(line: str) -> None:
    say(f"{socket.gethostname()}, process {os.getpid()}: {line}")
