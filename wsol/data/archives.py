"""Untrusted archives: takes the plain files of a zip or tar file, and nothing else.

Data sets need folders and files only. Therefore links, devices, and names that are absolute or contain `..` are
refused, with every version of Python, and only new files below the target are written. Sizes are compared with the free
disk before anything is written, and a file that would grow to many times its archive is refused.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from wsol.data.rows import require_inside
from wsol.errors import InputError, first_line

Log = Callable[[str], None]
Check = Callable[[Path], object]
"""Checks a complete file before it gets its name; raises if it is not the right one."""

MAX_GROWTH, GROWTH_COUNTS_FROM = 200, 10**8
"""Limits on unpacking: images are compressed already, so an archive that unpacks to more bytes than this and to this
many times its size is no data set."""

DAMAGED = (
    EOFError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ArithmeticError,
    LookupError,
    RuntimeError,  # encrypted, unsupported compression
    ValueError,
    AssertionError,
)
"""The exceptions of Python's readers for archives that are damaged, odd or malicious."""


class Bring(Protocol):
    """Brings one file of an archive or folder to a path; `check` sees it before it gets its name."""

    def __call__(self, path: Path, check: Check | None = None) -> None: ...


Member = tuple[str, Bring]
"""Name inside of an archive or folder, and the function that brings it to a path."""


class StrictHeader(tarfile.TarInfo):
    """Notices a tar file that breaks off between two members, which Python reads as a shorter one."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> StrictHeader:
        """The next member; raises tarfile.ReadError if there is neither a member nor the end mark."""
        try:
            return super().fromtarfile(tar)  # type: ignore[return-value]
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the end is missing: {first_line(error)}") from None


@contextmanager
def readable(archive: str | Path) -> Iterator[None]:
    """Turn errors of an archive inside of the block into messages.

    Raises:
        InputError: the archive is damaged, or the disk refused.
    """
    try:
        yield
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(
                f"{archive}: cannot be unpacked ({error}); what is done stays, and the same command continues"
            ) from None
        raise InputError(
            f"{archive}: cannot be unpacked ({first_line(error)}); the file may be damaged or cut short, get it again"
        ) from None


def unpack(archive: Path, target: Path, log: Log) -> None:
    """Unpack a whole zip or tar file into a folder.

    Args:
        archive: the file.
        target: the folder, which is made if absent.
        log: gets a line.

    Raises:
        InputError: the file is no archive, is damaged, holds more than files and folders, or there is no place for it.
    """
    log(f"unpacking {archive}")
    target.mkdir(parents=True, exist_ok=True)
    require_room(target, _declared(archive), archive)
    with readable(archive):
        for name, bring in members(archive):
            bring(target / name)


def members(place: Path) -> Iterator[Member]:
    """The files of a folder (links to folders are followed), a zip or a tar file, in their order.

    Raises:
        InputError: the archive holds more than files and folders.
    """
    if place.is_dir():
        yield from _of_folder(place)
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as opened:
            for name, info in _of_zip(opened, place):
                yield name, partial(put, partial(opened.open, info), info.file_size)
    else:
        with tarfile.open(place, tarinfo=StrictHeader) as opened_tar:
            for name, member in plain_members(opened_tar, place, place.stat().st_size):
                yield name, partial(put, partial(_open, opened_tar, member), member.size)


def plain_members(opened: tarfile.TarFile, archive: str | Path, packed: int) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The files of an opened tar file with their names, in their order.

    Args:
        opened: a tar file opened with `StrictHeader`; may be a stream.
        archive: the archive's path, which the messages name.
        packed: size of the archive in bytes.

    Raises:
        InputError: it holds more than files and folders, or grows beyond measure.
    """
    total = 0
    for member in opened:
        name = _plain_name(member.name, archive)
        if member.isdir():
            continue
        if not member.isreg():
            raise _refused(archive, member.name, "a link" if member.islnk() or member.issym() else "no plain file")
        total += member.size
        _require_growth(total, packed, archive)
        yield name, member


def unpack_tar(opened: tarfile.TarFile, target: Path, archive: str | Path, packed: int) -> None:
    """Unpack an opened tar file into a folder; see `plain_members`."""
    for name, member in plain_members(opened, archive, packed):
        put(partial(_open, opened, member), member.size, target / name)


def copy(source: Path, path: Path) -> None:
    """Copy a file; see `put`."""
    put(lambda: source.open("rb"), source.stat().st_size, path)


def require_archive(path: Path) -> None:
    """Raise InputError if a file does not begin like a zip or tar file."""
    if not (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
        raise InputError(f"{path}: is no archive")


def put(open_source: Callable[[], IO[bytes]], size: int, path: Path, check: Check | None = None) -> None:
    """Write a file under a temporary name; it gets its name when it is complete and checked.

    Args:
        open_source: opens the source of its bytes.
        size: number of bytes.
        path: the path of the file; its folders are made.
        check: see `Check`; if it raises, there is nothing at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    require_room(path.parent, size, path.name)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with open_source() as source, part.open("xb") as file:
        shutil.copyfileobj(source, file)
        if file.tell() != size:
            raise EOFError(f"{path.name} has {file.tell()} bytes instead of the {size} that are announced")
    if check is not None:
        check(part)
    part.replace(path)


def require_room(folder: Path, size: int, what: str | Path) -> None:
    """Raise InputError if a folder's disk has less than `size` bytes free."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{what}: needs {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in {folder}; free the disk, or name a"
            " folder on another one"
        )


def _of_folder(place: Path) -> Iterator[Member]:
    for folder in sorted(folders(place)):
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            yield path.relative_to(place).as_posix(), partial(_link, path)


def folders(place: Path) -> Iterator[Path]:
    """A folder and all in it; links are followed, but into no folder twice."""
    seen: set[tuple[int, int]] = set()
    for root, names, _ in os.walk(place, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            names.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield Path(root)


def _of_zip(opened: zipfile.ZipFile, archive: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    _require_growth(_declared_by(opened), archive.stat().st_size, archive)
    for info in opened.infolist():
        name, kind = _plain_name(info.filename, archive), stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, info.filename, "a link" if kind == stat.S_IFLNK else "no plain file")
        if not info.is_dir():
            yield name, info


def _declared(archive: Path) -> int:
    """The unpacked size that an archive declares, in bytes; for a tar file, which declares it only on the way, its own
    size."""
    if not zipfile.is_zipfile(archive):
        return archive.stat().st_size
    with readable(archive), zipfile.ZipFile(archive) as opened:
        return _declared_by(opened)


def _declared_by(opened: zipfile.ZipFile) -> int:
    return sum(info.file_size for info in opened.infolist())


def _require_growth(unpacked: int, packed: int, archive: str | Path) -> None:
    if unpacked > max(GROWTH_COUNTS_FROM, MAX_GROWTH * packed):
        raise InputError(
            f"{archive}: would grow from {packed:,} to {unpacked:,} bytes or more, which no archive of images does;"
            " it is damaged or malicious: get it again from its source"
        )


def _plain_name(name: str, archive: str | Path) -> str:
    """A member's name without `.` parts; raises InputError if it leaves the target."""
    if name.startswith("/"):
        raise _refused(archive, name, "an absolute path")
    plain = "/".join(part for part in name.split("/") if part not in ("", "."))
    try:
        if plain:
            require_inside(plain)
    except ValueError:
        raise _refused(archive, name, "no path inside of it, with /") from None
    return plain


def _refused(archive: str | Path, name: str, kind: str) -> InputError:
    return InputError(
        f"{archive}: holds {name[:200]!r}, {kind}; data sets are made of plain files and folders: get the archive again"
        " from its source, or unpack it yourself and give the folder"
    )


def _link(source: Path, path: Path, check: Check | None = None) -> None:
    if check is not None:
        check(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link whose file is gone
    path.symlink_to(source.resolve())


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    opened = archive.extractfile(member)
    assert opened is not None  # only files are asked for
    return opened
