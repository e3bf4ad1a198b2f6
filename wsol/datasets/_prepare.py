"""Shared by the `prepare` of several data sets: find, verify and unpack published archives, and get the metadata. Not a
plugin.

A killed process leaves nothing half-done: a file is written under a temporary name, checked, and then gets its name,
and files in place stay. The same command therefore continues where it stopped, and never with files of another data
set.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from wsol import files
from wsol.data import metadata
from wsol.data.archives import copy, members, readable, require_archive
from wsol.data.dataset import SPLIT_FOLDERS, SplitCounts, prepare_command
from wsol.data.decoding import Side, Undecodable, opened, size
from wsol.data.tree import count, unlike_published
from wsol.datasets._download import download
from wsol.errors import InputError
from wsol.pace import Progress
from wsol.schema import DatasetConfig

Log = Callable[[str], None]
REFERENCE = "https://github.com/clovaai/wsolevaluation"
RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        name: the name of the file.
        what: its content and origin, in words.
        folders: names of the unpacked archive; a folder of the user is linked, not copied.
        url: the address for a download without a login; None: the user must get it.
        size: size in bytes; None: not known.
        md5: the MD5 of the file, hexadecimal; None: not known.
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

    A member of the archive belongs to a file if its path ends with the name in `wanted`, so the folders around it do
    not matter.

    Attributes:
        archive: the archive that holds them.
        target: the folder that they go to.
        wanted: end of the path in the archive, all with the same number of parts -> path relative to `target`.
        sizes: path relative to `target` -> width and height in pixels that the image must have; other files must only
            be images.
    """

    archive: Archive
    target: Path
    wanted: Mapping[str, str]
    sizes: Mapping[str, Side] = field(default_factory=dict)

    def missing(self) -> dict[str, str]:
        """The part of `wanted` that is not in place yet."""
        return {end: name for end, name in self.wanted.items() if not (self.target / name).is_file()}


def downloads(config: DatasetConfig) -> Path:
    """The folder where archives are looked for, besides `--source`, and to which they are downloaded."""
    return Path(config.root) / "downloads"


def require(config: DatasetConfig, source: Path | None, archives: Iterable[Archive]) -> None:
    """Check, before anything slow begins, that everything is there which only the user can get.

    Raises:
        InputError: files are missing; the message names all of them, where to put them, and what to run then.
    """
    wanted = [archive for archive in archives if archive.url is None and find(config, source, archive) is None]
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
        InputError: it is missing, cannot be downloaded, or is damaged.
    """
    require(config, source, [archive])
    found = find(config, source, archive)
    if found is None:
        found = downloads(config) / archive.name
        download(str(archive.url), found, log, md5=archive.md5, check=require_archive)
    elif found.is_file():
        _verify(archive, found, log)
    return found


def gather(config: DatasetConfig, source: Path | None, parts: Iterable[Part], log: Log) -> None:
    """Bring the files of all parts. Files in place stay, and an archive from which nothing is needed is not required.

    Args:
        config: the settings, which the messages name.
        source: folder that holds archives.
        parts: the files of each archive, and where they go.
        log: gets lines of progress.

    Raises:
        InputError: an archive is missing or damaged, lacks files, or has wrong ones, which are not put in place.
    """
    needed = [(part, missing) for part in parts if (missing := part.missing())]
    require(config, source, [part.archive for part, _ in needed])
    for part, missing in needed:
        found = obtain(config, source, part.archive, log)
        left, wrong = _bring(found, part, missing, log)
        if wrong:
            shown = "; ".join(wrong[:3]) + ("; ..." if len(wrong) > 3 else "")
            raise InputError(
                f"{found}: {len(wrong)} of the {len(missing)} files that {config.name} needs from it are damaged or"
                f" other ones, {shown}; it is not the one that the metadata belongs to"
            )
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
    counts: Mapping[str, SplitCounts],
    *,
    reference: str = REFERENCE,
) -> None:
    """Copy the text files of `<source>/metadata/<published name>/<folder>`, or download them, unless they are there
    already. They are put in place when all of them are there, well-formed, and have the published numbers of rows.

    Args:
        config: the settings, which the message names.
        published: name of the data set in the reference.
        target: the folder that gets these folders.
        source: the folder that the user gave.
        log: gets a line per folder.
        counts: folder -> published counts; its keys are the folders.
        reference: the repository on GitHub that has them.

    Raises:
        InputError: the files of a folder are neither in place nor in the source, and cannot be downloaded, or are
            defective.
    """
    for folder, published_counts in counts.items():
        if (target / folder / metadata.IDS).exists():
            continue
        offered, waiting = _place_for(config, source) / "metadata" / published / folder, target / f".{folder}.tmp"
        address = f"{RAW}{urlsplit(reference).path}/HEAD/metadata/{published}/{folder}"
        try:
            _gather_text(offered, address, waiting, log)
        except (OSError, InputError) as error:
            why = str(error).split("; ")[0]
            raise InputError(
                f"{target / folder}: no metadata of {published} ({why}). Get the folder metadata/{published} of"
                f" {reference}, put it into {offered.parent} and run `{_command(config, source)}`"
            ) from None
        _require_published(offered if offered.is_dir() else waiting, folder, published_counts, waiting)
        for name in sorted(path.name for path in waiting.iterdir() if path.name != metadata.IDS):
            (target / folder).mkdir(parents=True, exist_ok=True)
            (waiting / name).replace(target / folder / name)
        (waiting / metadata.IDS).replace(target / folder / metadata.IDS)  # with the last one, a folder is complete
        waiting.rmdir()
        log(f"{target / folder}: metadata of {published}")


def _gather_text(offered: Path, address: str, waiting: Path, log: Log) -> None:
    """Bring the text files of one split to a folder where they wait."""
    if not offered.is_dir():
        for name in metadata.FORMATS:
            download(f"{address}/{name}", waiting / name, log)
        return
    shutil.rmtree(waiting, ignore_errors=True)  # of a download that was given up
    for path in sorted(path for path in offered.iterdir() if path.is_file()):
        copy(path, waiting / path.name)


def _require_published(read_from: Path, folder: str, counts: SplitCounts, waiting: Path) -> None:
    """Raise InputError if metadata are defective or cut short; then the waiting folder is removed."""
    split = {published: name for name, published in SPLIT_FOLDERS.items()}.get(folder, folder)
    try:
        found = count(metadata.read(read_from, annotated=folder != SPLIT_FOLDERS["train_weaksup"]))
        if wrong := unlike_published(split, found, counts):
            raise InputError(f"{wrong[0]}; the files in {read_from} may be cut short: get them again")
    except InputError:
        shutil.rmtree(waiting, ignore_errors=True)
        raise


def _place_for(config: DatasetConfig, source: Path | None) -> Path:
    """Where the user puts archives."""
    if source is None:
        return downloads(config)
    return source.parent if source.is_file() else source


def how_to_get(config: DatasetConfig, archive: Archive) -> str:
    """How to get an optional archive of a data set, in words."""
    what = f"{archive.size:,} bytes, {archive.what}" if archive.size else archive.what
    return f"for masks, put {archive.name} ({what}) into {downloads(config)} and run `{_command(config, None)}`"


def find(config: DatasetConfig, source: Path | None, archive: Archive) -> Path | None:
    """The archive, or the folder it was unpacked to, at the place where the user put it; None if it is not there."""
    choices = (
        place / name
        for place in (_place_for(config, source), downloads(config))
        for name in (*archive.folders, archive.name)
    )
    return next((choice for choice in choices if choice.exists()), None)


def _command(config: DatasetConfig, source: Path | None) -> str:
    return prepare_command(config) + (f" --source {source}" if source is not None else "")


def listed_sizes(*folders: Path) -> dict[str, Side | None]:
    """Image id -> width and height, or None if the metadata have none, for all images that some splits list."""
    found: dict[str, Side | None] = {}
    for folder in folders:
        data = metadata.read(folder, annotated=False)
        sizes = [None] * len(data.image_ids) if data.sizes is None else map(tuple, data.sizes.tolist())
        found.update(zip(data.image_ids, sizes, strict=True))
    return found


def _verify(archive: Archive, path: Path, log: Log) -> None:
    again = "it is damaged, cut short or another file: get it again, or unpack it yourself and give the folder"
    size = path.stat().st_size
    if archive.size not in (None, size):
        raise InputError(f"{path}: has {size:,} bytes, the published file {archive.size:,}; {again}")
    if archive.md5 is not None:
        log(f"{path.name}: verifying {size >> 20} MiB")
        if (found := files.md5(path)) != archive.md5:
            raise InputError(f"{path}: has MD5 {found}, the published file {archive.md5}; {again}")


def _bring(place: Path, part: Part, missing: Mapping[str, str], log: Log) -> tuple[list[str], list[str]]:
    """Bring the missing files that the archive has. Returns the ends of the paths that it lacks, and what is wrong with
    files that were not put in place."""
    log(f"{place}: bringing {len(missing)} files to {part.target}")
    depth, left = next(iter(missing)).count("/") + 1, dict(missing)
    wrong: list[str] = []
    with readable(place), Progress(place.name, len(missing), "files", log) as progress:
        for name, bring in members(place):
            wanted = left.pop("/".join(name.split("/")[-depth:]), None)
            if wanted is not None:
                try:
                    bring(part.target / wanted, partial(_require_image, part.sizes.get(wanted)))
                except Undecodable as error:
                    wrong.append(f"{wanted}: {error}")
            if not left:
                break
            progress.show(len(missing) - len(left))
    return list(left), wrong


def _require_image(expected: Side | None, path: Path) -> None:
    """Raise Undecodable if a file is no image or has another size."""
    with opened(path) as image:
        found = size(image, displayed=False)
    if expected is not None and found != expected:
        raise Undecodable(f"has {found[0]} x {found[1]} pixels, {metadata.SIZES} says {expected[0]} x {expected[1]}")
