"""`list` and `describe`: name the plugins of a kind, and explain one of them."""

from __future__ import annotations

import textwrap

from orchestrator.console import console
from wsol import plugins
from wsol.errors import InputError


def print_list(folder: str) -> None:
    """Print a line for every plugin of a kind: its name and title.

    Args:
        folder: the folder of the kind, such as `methods`.

    Raises:
        InputError: there is no such kind.
    """
    kind = _kind_in(folder)
    for name in plugins.names(kind):
        doc = (plugins.load(kind, name).__doc__ or "").strip().splitlines()
        console.print(textwrap.fill(f"{name:<20} {doc[0] if doc else ''}", 80, subsequent_indent=" " * 21))


def print_description(folder: str, name: str) -> None:
    """Print a plugin as Markdown, see `orchestrator.verbs.describe.page`.

    Args:
        folder: the folder of its kind, such as `methods`.
        name: the plugin's name.

    Raises:
        InputError: there is no such kind or plugin.
    """
    from orchestrator.verbs.describe import page

    try:
        console.print(page(_kind_in(folder), name), end="")
    except ValueError as error:
        raise InputError(str(error)) from None


def _kind_in(folder: str) -> str:
    """The kind of the plugins in a folder of `wsol`."""
    kinds = {folder: kind for kind, folder in plugins.FOLDERS.items()}
    if folder not in kinds:
        raise InputError(f"{folder}{plugins.did_you_mean(folder, list(kinds))}: use one of {', '.join(kinds)}")
    return kinds[folder]
