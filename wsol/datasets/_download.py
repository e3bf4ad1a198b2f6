"""Downloads that continue where they stopped. Not a plugin."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from wsol import files
from wsol.data.archives import Check, require_room
from wsol.errors import InputError
from wsol.pace import Progress

BYTES_AT_ONCE = 1 << 20


def download(
    url: str, target: Path, log: Callable[[str], None], *, md5: str | None = None, check: Check | None = None
) -> None:
    """Fetch a file; an interrupted download continues from its `.part` file.

    Args:
        url: http or https.
        target: the file, which appears only when it is complete and correct; an existing one is not fetched again.
        log: gets lines of progress.
        md5: hexadecimal digest that the file must have; None: none is known.
        check: raises InputError if the file is not the requested one, such as a login page.

    Raises:
        InputError: there is no connection, the server refuses, the transfer breaks off, the disk is too small, or the
            file is the wrong one, which is then deleted.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _fetch(url, part, log)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        hint = (
            f"try again later, it goes on where it stopped, or fetch the file elsewhere and put it into {target.parent}"
        )
        raise InputError(f"{url}: cannot be downloaded ({error}); {hint}") from None
    if md5 is not None and (found := files.md5(part)) != md5:
        part.unlink()
        raise InputError(f"{url}: the file has MD5 {found}, expected {md5}; it was deleted, try again")
    try:
        if check is not None:
            check(part)
    except InputError as error:
        part.unlink()
        raise InputError(f"{url}: gives another file ({error}); it was deleted, try again later") from None
    log(f"downloaded {target}")
    files.sync_and_rename(part, target)


def _fetch(url: str, part: Path, log: Callable[[str], None]) -> None:
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
        total = done + int(length) if length and length.isdigit() else None
        require_room(part.parent, total - done if total else 0, url)
        with Progress(part.stem, total >> 20 if total else None, "MiB", log) as progress:
            while block := response.read(BYTES_AT_ONCE):
                done += file.write(block)
                progress.show(done >> 20)
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
