"""Readers of a run folder that continue when a file is damaged: they leave it out and note it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.runs import names
from orchestrator.runs.header import RunHeader, read_header
from orchestrator.runs.looks import read_entries
from wsol.errors import InputError

if TYPE_CHECKING:
    import optuna


def header_or_default(folder: Path, notes: list[str]) -> RunHeader:
    """The header; an empty one, with a note, if it cannot be read."""
    try:
        return read_header(folder)
    except InputError as error:
        if (folder / names.HEADER).is_file():
            notes.append(f"{error}.")
        return RunHeader()


def entries_of_tests(folder: Path, notes: list[str]) -> tuple[Mapping[str, Any], ...]:
    """The entries of the test record; none, with a note, if it is damaged."""
    try:
        return tuple(read_entries(folder))
    except InputError as error:
        notes.append(f"{error}.")
        return ()


def text_or_empty(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def json_or_empty(path: Path, kind: type, notes: list[str]) -> Any:
    """The content, or an empty `kind` if the file is missing or damaged; damage is noted."""
    if not path.is_file():
        return kind()
    try:
        content = json.loads(text_or_empty(path))
    except (OSError, ValueError) as error:
        content = error
    if isinstance(content, kind):
        return content
    notes.append(f"{path.name} could not be read and is left out.")
    return kind()


def study_or_none(folder: Path, name: str, notes: list[str]) -> optuna.Study | None:
    """Open the study without writing to it; any study of the file will do where the name is not known."""
    if not (folder / names.JOURNAL).is_file():
        return None
    import optuna

    from orchestrator.runs.journal import open_storage

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = open_storage(folder)
            known = [study.study_name for study in storage.get_all_studies()]
            return optuna.load_study(study_name=name if name in known else known[0], storage=storage) if known else None
    except Exception as error:  # a damaged journal raises whatever its damage happens to trip
        notes.append(f"study.journal could not be read: {error}. Trials are left out.")
        return None
