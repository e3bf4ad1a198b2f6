"""`list` and `describe`: name the plugins of a kind, and explain one of them."""

from __future__ import annotations

import textwrap

from orchestrator.console import console
from wsol import plugins
from wsol.errors import InputError
from wsol.packages import brought


def print_list(folder: str) -> None:
    """Print a line for every plugin of a kind: its name and title; of one of another package also which package, or why
    it cannot be used.

    Args:
        folder: the folder of the kind, such as `methods`.

    Raises:
        InputError: there is no such kind.
    """
    kind = _kind_in(folder)
    for name in plugins.names(kind):
        told = _told_of_foreign(kind, name) if name in brought(kind, folder) else _first_line(kind, name)
        console.print(textwrap.fill(f"{name:<20} {told}", 80, subsequent_indent=" " * 21))


def _first_line(kind: str, name: str) -> str:
    return ((plugins.load(kind, name).__doc__ or "").strip().splitlines() or [""])[0]


def _told_of_foreign(kind: str, name: str) -> str:
    try:
        origin = plugins.origin(kind, name)
        return f"{_first_line(kind, name)} ({origin.package} {origin.version})" if origin else ""
    except InputError as error:
        return str(error)


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
