"""Files elsewhere, by address: `s3://bucket/prefix`, `gs://bucket/prefix`, `file:///folder` or a path.

What comes after a `?` are options of pyarrow's file systems, such as `?region=eu-central-1` or
`?scheme=http&endpoint_override=host:port`. Keys are never part of an address: they come from the environment or from
the machine's role.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from wsol.errors import InputError, first_line

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def open_address(address: str) -> tuple[FileSystem, str]:
    """The file system of an address and the path in it.

    Raises:
        InputError: there is no such kind of address, or nothing answers.
    """
    from pyarrow.fs import FileSystem

    try:
        filesystem, path = FileSystem.from_uri(address if "://" in address else Path(address).absolute().as_uri())
    except (OSError, ValueError) as error:
        raise unreachable(address, error) from None
    return filesystem, path


def below(address: str, *names: str) -> str:
    """The address of something in the folder of an address."""
    base, mark, options = address.partition("?")
    return "/".join([base.rstrip("/"), *names]) + mark + options


def last_name(address: str) -> str:
    """The last part of an address, without options."""
    return address.partition("?")[0].rstrip("/").rpartition("/")[2]


def unreachable(address: str, error: Exception) -> InputError:
    """Which node cannot reach what, and where to look."""
    reason = first_line(error).partition("; Detail")[0]
    return InputError(
        f"{socket.gethostname()}: {address}: {reason}; does it exist, and may this node read and write it (keys, role,"
        " region)?"
    )
