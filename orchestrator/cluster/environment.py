"""Checks what Ray needs on this machine: a folder for its sessions, and a home folder for its token."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wsol.errors import InputError

LONGEST_SOCKET = 107
"""Largest length of a socket's path in Linux, in bytes."""

SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path below Ray's folder that it gives to a socket."""

SHORT = "set RAY_TMPDIR to a folder that you can write and whose path is short, such as RAY_TMPDIR=/tmp"


def ready_for_ray() -> Path:
    """Check what would make Ray fail without a reason, and make its folder private, because Ray logs the environment
    there and lets everybody write below it.

    Returns:
        Where Ray keeps its sessions.

    Raises:
        InputError: Ray could not work here; the message says the remedy.
    """
    folder = session_folder()
    longest = len(os.fsencode(folder / SOCKET))
    if longest > LONGEST_SOCKET:
        raise InputError(
            f"{folder}: this path is {longest - LONGEST_SOCKET} characters too long for Ray's sockets; {SHORT}"
        )
    _make_private(folder.parent)
    _require_place_for_token()
    return folder


def session_folder() -> Path:
    """The folder where Ray keeps its sessions for this user on this machine."""
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return Path(base).absolute() / f"ray-{os.geteuid()}" / "s"


def _make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter.

    Raises:
        InputError: it cannot be made, or is another user's.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise InputError(f"{folder}: Ray keeps its sessions there, and it belongs to another user; {SHORT}")
        folder.chmod(0o700)
        if not os.access(folder, os.W_OK):
            raise InputError(f"{folder}: Ray keeps its sessions there, and it cannot be written; {SHORT}")
    except OSError as error:
        raise InputError(f"{folder}: Ray keeps its sessions there ({error.strerror}); {SHORT}") from None


def _require_place_for_token() -> None:
    """Check that the home folder can hold the token of Ray's processes, unless the environment has one."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(
        os.environ
    ):
        return
    token = Path(os.environ.get("HOME", "")) / ".ray" / "auth_token"
    try:
        if not token.is_absolute():
            raise FileNotFoundError(2, "there is none")
        if not token.exists():
            token.parent.mkdir(exist_ok=True)
        if not os.access(token if token.exists() else token.parent, os.R_OK if token.exists() else os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(
            f"HOME={os.environ.get('HOME', '')}: Ray keeps its token in the home folder ({error.strerror}); set HOME to"
            " a folder that you can write, or RAY_AUTH_TOKEN to a secret of your own"
        ) from None
