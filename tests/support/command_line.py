"""The command line without running anything."""

from __future__ import annotations

from typing import Any

import typer

from orchestrator import cli


def parsed(words: list[str]) -> Any:
    """The context that typer makes of a command line: names, options and their types are right."""
    command: Any = typer.main.get_command(cli.app)
    context: Any = command.make_context("launch.py", list(words))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context


def verbs() -> list[str]:
    """Every verb in the order of `--help`; those that have verbs below them are these, such as `data prepare`."""
    groups = typer.main.get_command(cli.app).commands.items()  # type: ignore[attr-defined]
    return [
        " ".join(words)
        for name, group in groups
        for words in [(name, below) for below in getattr(group, "commands", ())] or [(name,)]
    ]
