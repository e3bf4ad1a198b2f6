"""What the `prepare` of several data sets needs: download, unpack, find, move and copy. No plugin."""

from __future__ import annotations

import http.client
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from wsol import files, metadata
from wsol.config import DatasetConfig
from wsol.data import SPLIT_FOLDERS
from wsol.errors import InputError

Log = Callable[[str], None]
Archives = dict[tuple[str, ...], str]

BYTES_AT_ONCE = 1 << 20
SECONDS_BETWEEN_LINES = 5.0
REFERENCE = "https://github.com/clovaai/wsolevaluation"


def download(url: str, target: Path, sha256: str | None, log: Log) -> None:
    """Fetch a file; an interrupted download goes on from its `.part` file.

    Args:
        url: http or https.
        target: appears only when complete and right; an existing one is not fetched again.
        sha256: hex digest the file must have; None: the digest found is logged.
        log: gets progress and the digest.

    Raises:
        InputError: no connection, the server refuses, the transfer breaks off, or the digest is another one.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _fetch(url, part, log)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        hint = "try again later, it goes on where it stopped, or give the file with --source"
        raise InputError(f"{url}: cannot be downloaded ({error}); {hint}") from None
    found = files.sha256(part)
    if sha256 is not None and found != sha256:
        part.unlink()
        raise InputError(f"{url}: the file has SHA-256 {found}, expected {sha256}; it was deleted, try again")
    log(f"{target.name}: SHA-256 {found}")
    part.replace(target)


def _fetch(url: str, part: Path, log: Log) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # nothing is left to fetch
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        done, length = file.tell(), response.headers.get("Content-Length")
        total = done + int(length) if length else None
        shown = time.monotonic()
        while block := response.read(BYTES_AT_ONCE):
            done += file.write(block)
            if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
                shown = time.monotonic()
                log(f"{part.stem}: {done >> 20} of {total >> 20 if total else '?'} MiB")
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def unpack(archive: Path, target: Path, log: Log) -> None:
    """Unpack a zip or tar file; members that point outside the target are refused.

    Raises:
        InputError: the file is no archive, or damaged.
    """
    log(f"unpacking {archive}")
    target.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(target)
        else:
            with tarfile.open(archive) as opened_tar:
                opened_tar.extractall(target, filter="data")
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); the file may be damaged or cut short, get it again") from None


def find(source: Path | None, names: tuple[str, ...], config: DatasetConfig, what: str) -> Path:
    """A file or folder of one of these names in the source folder.

    Raises:
        InputError: there is none; the message says what to get and where to put it.
    """
    for name in names if source is not None else ():
        if (found := Path(source or "") / name).exists():
            return found
    raise InputError(
        f"{config.name} needs {' or '.join(names)}: {what}. Put it into one folder with the other archives and run "
        f"`python launch.py data prepare {config.name} --root {config.root} --source THAT_FOLDER`"
    )


def gather(config: DatasetConfig, source: Path | None, archives: Archives, names: list[str], target: Path, log: Log) -> None:
    """Bring files to `target / name` from archives or unpacked folders; what is in place stays.

    A file belongs to a name if its path ends with it, so the folders around it in the archive do not matter. Unpacked folders of the user are
    copied from, never moved.

    Args:
        config: for the messages.
        source: folder that holds the archives.
        archives: possible names in that folder -> what it is and where to get it.
        names: relative paths, all with the same number of parts.
        target: made if absent.
        log: gets lines of progress.

    Raises:
        InputError: an archive is missing or damaged, or after all of them a file is missing.
    """
    missing = [name for name in names if not (target / name).is_file()]
    temporary = target.with_name(f".{target.name}.tmp")
    for choices, what in archives.items():
        if not missing:
            break
        found = find(source, choices, config, what)
        if found.is_dir():
            missing = _place(missing, found, target, shutil.copy2)
            continue
        shutil.rmtree(temporary, ignore_errors=True)
        unpack(found, temporary, log)
        missing = _place(missing, temporary, target, shutil.move)
        shutil.rmtree(temporary)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} files of {config.name} are in none of the archives, the first: {', '.join(missing[:3])}; "
            "the archives are not the ones that the metadata belongs to, or they are not complete"
        )


def _place(names: list[str], folder: Path, target: Path, bring: Callable[[Path, Path], object]) -> list[str]:
    """Bring the named files that are somewhere in the folder; returns the names that are not."""
    depth = names[0].count("/") + 1
    found = {"/".join(path.parts[-depth:]): path for path in folder.rglob("*") if path.is_file()}
    for name in names:
        if name in found:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            bring(found[name], target / name)
    return [name for name in names if name not in found]


def copy_metadata(config: DatasetConfig, published: str, target: Path, source: Path | None, log: Log, *, generated: tuple[str, ...] = ()) -> None:
    """Copy the text files of train, val and test from `<source>/metadata/<published name>`, unless they are there already.

    Args:
        config: for the message.
        published: name of the data set in the reference.
        target: receives the folders train, val and test.
        source: what the user gave.
        log: gets a line per folder.
        generated: folders that may be absent, since `prepare` makes them.

    Raises:
        InputError: a folder is neither in place nor in the source.
    """
    for folder in SPLIT_FOLDERS.values():
        if (target / folder / metadata.IDS).exists():
            continue
        offered = None if source is None else source / "metadata" / published / folder
        if offered is not None and offered.is_dir():
            shutil.copytree(offered, target / folder, dirs_exist_ok=True)
            log(f"copied {offered} to {target / folder}")
        elif folder not in generated:
            raise InputError(
                f"{target / folder}: no metadata of {published}. Get the folder metadata/{published} of {REFERENCE}, put it into "
                f"SOURCE/metadata/{published} and run `python launch.py data prepare {config.name} --root {config.root} --source SOURCE`"
            )
