"""Files elsewhere, by address: `s3://bucket/prefix`, `gs://bucket/prefix`, `file:///folder` or a path.

What comes after a `?` are options of pyarrow's file systems, such as `?region=eu-central-1` or
`?scheme=http&endpoint_override=host:port`. Keys are never part of an address: they come from the environment or from
the machine's role.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from wsol.errors import InputError, first_line

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


SECRETS = re.compile("secret|key|token|passw|credential", re.IGNORECASE)
"""Options of an address whose values are secret."""


def open_address(address: str) -> tuple[FileSystem, str]:
    """Open the file system of an address; returns it with the path in it.

    Raises:
        InputError: there is no such kind of address, it holds a key, or nothing answers.
    """
    require_no_key(address)
    from pyarrow.fs import FileSystem

    try:
        filesystem, path = FileSystem.from_uri(address if "://" in address else Path(address).absolute().as_uri())
    except (OSError, ValueError) as error:
        raise unreachable(address, error) from None
    return filesystem, path


def require_no_key(address: str) -> None:
    """Raise InputError if an address holds a user's key, because addresses are written into run folders, which are
    shared."""
    parts = urlsplit(address)
    told = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if SECRETS.search(name)]
    if "://" in address and ("@" in parts.netloc or told):
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise InputError(
            f"{place}: the address has a key in it ({', '.join(told) or 'before the @'}), which would be written into"
            " run folders; leave it out, keys come from the environment (AWS_ACCESS_KEY_ID, ...) or the machine's role"
        )


def below(address: str, *names: str) -> str:
    """The address of an entry in the folder of an address."""
    base, mark, options = address.partition("?")
    return "/".join([base.rstrip("/"), *names]) + mark + options


def last_name(address: str) -> str:
    """The last part of an address, without options."""
    return address.partition("?")[0].rstrip("/").rpartition("/")[2]


def unreachable(address: str, error: Exception) -> InputError:
    """The error that this node cannot reach an address, with what to check."""
    reason = first_line(error).partition("; Detail")[0]
    return InputError(
        f"{socket.gethostname()}: {address}: {reason}; does it exist, and may this node read and write it (keys, role,"
        " region)?"
    )
