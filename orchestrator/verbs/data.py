"""The verbs of data sets: prepare and check."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from orchestrator.console import console
from orchestrator.experiment.messages import describe
from orchestrator.experiment.yaml_reader import parse_scalar
from orchestrator.preflight.place import require_writable
from wsol import plugins
from wsol.errors import InputError
from wsol.files import exists
from wsol.schema import DatasetConfig


def prepare_data(name: str, root: Path, settings: list[str], source: Path | None) -> None:
    """Make a data set ready: see the data set's file for what it takes.

    Args:
        name: of the data set.
        root: folder of data sets.
        settings: `KEY=VALUE` of its `Config`.
        source: what the user has of it, a file or a folder; None: nothing.

    Raises:
        InputError: there is no such data set, setting or source, or an archive is missing or damaged.
    """
    config = _dataset_config(name, root, settings)
    given = source and source.expanduser()
    if given is not None and not exists(given):
        raise InputError(f"--source {given}: there is no such file or folder")
    require_writable(Path(config.root))
    plugins.load("dataset", name).prepare(config, given, console.print)


def check_data(name: str, root: Path, settings: list[str]) -> None:
    """Verify a prepared data set; arguments as of `prepare_data`.

    Raises:
        InputError: there is no such data set or setting, or something of it is missing or wrong.
    """
    from wsol import build
    from wsol.data.tree import check_tree

    check_tree(build.dataset(_dataset_config(name, root, settings)), console.print)


def _dataset_config(name: str, root: Path, settings: list[str]) -> DatasetConfig:
    """The settings of a data set, from a command line."""
    try:
        plugin = plugins.load("dataset", name)
    except ValueError as error:
        raise InputError(str(error)) from None
    values = {key: parse_scalar(text) for key, _, text in (setting.partition("=") for setting in settings)}
    try:
        config: DatasetConfig = plugin.Config.model_validate({"name": name, "root": str(root), **values})
    except ValidationError as error:
        problems = [
            (".".join(map(str, e["loc"])), describe(e, lambda: list(plugin.Config.model_fields)))
            for e in error.errors()
        ]
        raise InputError("\n".join(f"command line: {path}: {text}" for path, text in problems)) from None
    return config
