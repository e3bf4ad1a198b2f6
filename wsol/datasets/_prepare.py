"""What the `prepare` of several data sets needs: find, verify and unpack published archives, and get the metadata. No
plugin.

Nothing is half done after a kill: a file is written beside its place and then gets its name, and what is in place
stays. So the same command goes on where it stopped.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from wsol import files
from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS, prepare_command
from wsol.datasets._download import download
from wsol.errors import InputError
from wsol.pace import Pace
from wsol.schema import DatasetConfig

Log = Callable[[str], None]
Member = tuple[str, Callable[[Path], None]]
"""Name inside of an archive or folder, and what brings it to a path."""

REFERENCE = "https://github.com/clovaai/wsolevaluation"
RAW = "https://raw.githubusercontent.com"
DAMAGED = (EOFError, tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        name: of the file.
        what: what it holds and where it is from.
        folders: names of the unpacked archive; a folder of the user is linked to, not copied.
        url: where it can be downloaded without a login; None: the user gets it.
        size: in bytes; None: not known.
        md5: hexadecimal; None: not known.
    """

    name: str
    what: str
    folders: tuple[str, ...] = ()
    url: str | None = None
    size: int | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Part:
    """Files that come from one archive.

    A member of the archive belongs to a file if its path ends with the file's name there, so the folders around it do
    not matter.

    Attributes:
        archive: holds them.
        target: the folder that they go to.
        wanted: end of the path in the archive, all with the same number of parts -> path relative to `target`.
    """

    archive: Archive
    target: Path
    wanted: Mapping[str, str]

    def missing(self) -> dict[str, str]:
        """What of `wanted` is not in place."""
        return {end: name for end, name in self.wanted.items() if not (self.target / name).is_file()}


def downloads(config: DatasetConfig) -> Path:
    """Where archives are looked for, beside `--source`, and downloaded to."""
    return Path(config.root) / "downloads"


def require(config: DatasetConfig, source: Path | None, archives: Iterable[Archive]) -> None:
    """Before anything slow begins: is there everything that only the user can get?

    Raises:
        InputError: names all files that are not, where to put them and what to run then.
    """
    wanted = [archive for archive in archives if archive.url is None and _find(config, source, archive) is None]
    if not wanted:
        return
    lines = [
        f"{config.name} needs {len(wanted)} file(s) that cannot be downloaded from here. Put into"
        f" {_place_for(config, source)}:"
    ]
    for archive in wanted:
        size = f"{archive.size:,} bytes" if archive.size else "size not known"
        unpacked = f"; or, unpacked, the folder {' or '.join(archive.folders)}" if archive.folders else ""
        lines += [f"  {archive.name} ({size}{unpacked})", f"    {archive.what}"]
    raise InputError("\n".join([*lines, "then run again:", f"  {_command(config, source)}"]))


def obtain(config: DatasetConfig, source: Path | None, archive: Archive, log: Log) -> Path:
    """The archive, or the folder it was unpacked to: found or downloaded, and verified by size and digest where they
    are known.

    Raises:
        InputError: it is not there, cannot be downloaded, or is damaged.
    """
    require(config, source, [archive])
    found = _find(config, source, archive)
    if found is None:
        found = downloads(config) / archive.name
        download(str(archive.url), found, log, md5=archive.md5)
    elif found.is_file():
        _verify(archive, found, log)
    return found


def gather(config: DatasetConfig, source: Path | None, parts: Iterable[Part], log: Log) -> None:
    """Bring the files of all parts; those that are in place stay, and an archive that has nothing more to give is not
    asked for.

    Args:
        config: for the messages.
        source: folder that holds archives.
        parts: what goes where.
        log: gets lines of progress.

    Raises:
        InputError: an archive is missing or damaged, or has not all files.
    """
    needed = [(part, missing) for part in parts if (missing := part.missing())]
    require(config, source, [part.archive for part, _ in needed])
    for part, missing in needed:
        found = obtain(config, source, part.archive, log)
        left = _bring(found, missing, part.target, log)
        if left:
            raise InputError(
                f"{found}: has {len(missing) - len(left)} of the {len(missing)} files that {config.name} needs from it,"
                f" not {', '.join(left[:3])}{', ...' if len(left) > 3 else ''}; it is not complete, or not the one that"
                " the metadata belongs to"
            )


def fetch_metadata(
    config: DatasetConfig,
    published: str,
    target: Path,
    source: Path | None,
    log: Log,
    *,
    folders: Iterable[str] = tuple(SPLIT_FOLDERS.values()),
    reference: str = REFERENCE,
) -> None:
    """Copy the text files of `<source>/metadata/<published name>/<folder>`, or download them, unless they are there
    already.

    Args:
        config: for the message.
        published: name of the data set in the reference.
        target: receives the folders.
        source: what the user gave.
        log: gets a line per folder.
        folders: which.
        reference: the repository on GitHub that has them.

    Raises:
        InputError: the files of a folder are neither in place nor in the source, and cannot be downloaded.
    """
    for folder in folders:
        if (target / folder / metadata.IDS).exists():
            continue
        offered = _place_for(config, source) / "metadata" / published / folder
        files_of_a_split = [metadata.LABELS, metadata.SIZES, metadata.LOCALIZATION]
        names = [path.name for path in offered.iterdir() if path.is_file()] if offered.is_dir() else files_of_a_split
        try:
            for name in (
                *(name for name in names if name != metadata.IDS),
                metadata.IDS,
            ):  # with the last one, a folder is complete
                if offered.is_dir():
                    _copy(offered / name, target / folder / name)
                else:
                    download(
                        f"{RAW}{urlsplit(reference).path}/HEAD/metadata/{published}/{folder}/{name}",
                        target / folder / name,
                        log,
                    )
        except (OSError, InputError) as error:
            why = str(error).split("; ")[0]
            raise InputError(
                f"{target / folder}: no metadata of {published} ({why}). Get the folder metadata/{published} of"
                f" {reference}, put it into {offered.parent} and run `{_command(config, source)}`"
            ) from None
        log(f"{target / folder}: metadata of {published}")


def unpack(archive: Path, target: Path, log: Log) -> None:
    """Unpack a whole zip or tar file; members that point outside the target are refused.

    Raises:
        InputError: the file is no archive, or damaged.
    """
    log(f"unpacking {archive}")
    target.mkdir(parents=True, exist_ok=True)
    with readable(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(target)
        else:
            with tarfile.open(archive) as opened_tar:
                opened_tar.extractall(target, filter="data")


@contextmanager
def readable(archive: Path) -> Iterator[None]:
    """What goes wrong with an archive inside of the block is said in words.

    Raises:
        InputError: the archive is damaged, or the disk refused.
    """
    try:
        yield
    except DAMAGED as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({error}); the file may be damaged or cut short, get it again"
        ) from None
    except OSError as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({error}); what is done stays, the same command goes on"
        ) from None


def members(place: Path) -> Iterator[Member]:
    """The files of a folder, a zip or a tar file, in their order."""
    if place.is_dir():
        yield from (
            (path.relative_to(place).as_posix(), partial(_link, path))
            for path in sorted(place.rglob("*"))
            if path.is_file()
        )
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as opened:
            yield from (
                (info.filename, partial(_place, partial(opened.open, info)))
                for info in opened.infolist()
                if not info.is_dir()
            )
    else:
        with tarfile.open(place) as opened_tar:
            yield from (
                (member.name, partial(_place, partial(_open, opened_tar, member)))
                for member in opened_tar
                if member.isreg()
            )


def _place_for(config: DatasetConfig, source: Path | None) -> Path:
    """Where the user puts archives."""
    if source is None:
        return downloads(config)
    return source.parent if source.is_file() else source


def _find(config: DatasetConfig, source: Path | None, archive: Archive) -> Path | None:
    choices = (
        place / name
        for place in (_place_for(config, source), downloads(config))
        for name in (*archive.folders, archive.name)
    )
    return next((choice for choice in choices if choice.exists()), None)


def _command(config: DatasetConfig, source: Path | None) -> str:
    return prepare_command(config) + (f" --source {source}" if source is not None else "")


def _verify(archive: Archive, path: Path, log: Log) -> None:
    again = "it is damaged, cut short or another file: get it again, or unpack it yourself and give the folder"
    size = path.stat().st_size
    if archive.size not in (None, size):
        raise InputError(f"{path}: has {size:,} bytes, the published file {archive.size:,}; {again}")
    if archive.md5 is not None:
        log(f"{path.name}: verifying {size >> 20} MiB")
        if (found := files.md5(path)) != archive.md5:
            raise InputError(f"{path}: has MD5 {found}, the published file {archive.md5}; {again}")


def _bring(place: Path, missing: Mapping[str, str], target: Path, log: Log) -> list[str]:
    """Bring the missing files that are there; returns the ends of the paths of those that are not."""
    log(f"{place}: bringing {len(missing)} files to {target}")
    depth, left, pace = next(iter(missing)).count("/") + 1, dict(missing), Pace()
    with readable(place):
        for name, bring in members(place):
            wanted = left.pop("/".join(name.split("/")[-depth:]), None)
            if wanted is not None:
                bring(target / wanted)
            if not left:
                break
            if pace.is_due():
                log(f"{place.name}: {len(missing) - len(left)} of {len(missing)} files")
    return list(left)


def _link(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link whose file is gone
    path.symlink_to(source.resolve())


def _copy(source: Path, path: Path) -> None:
    with source.open("rb") as file:
        _place(lambda: file, path)


def _place(open_source: Callable[[], IO[bytes]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with open_source() as source, part.open("wb") as file:
        shutil.copyfileobj(source, file)
    part.replace(path)


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    opened = archive.extractfile(member)
    assert opened is not None  # only files are asked for
    return opened
