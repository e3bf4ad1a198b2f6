"""`study.json`: how a run began, and whether it has ended. This file makes a folder a run, so it is written last."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.experiment.paths import Values
from orchestrator.runs import names
from orchestrator.runs.record import entries_of, parse_record
from wsol.errors import InputError
from wsol.files import write_text

FORMAT = 1
"""The version of the run folder's format; raise it when an older program cannot continue a newer folder, or the other
way round."""


@dataclass(frozen=True, slots=True)
class RunHeader:
    """The facts about a run apart from its trials; older runs lack some of them.

    Attributes:
        study_name: the Optuna study in the journal, one plain part of a path: the run's place in a store ends in it.
        format: the version of the run folder's format.
        name: what the user calls the search.
        kind: `search`, `train`, `import` or `replay`, which `resume` reads.
        source: the file that the experiment was read from.
        objective: the one that chooses, such as `train_fullsup/max_box_acc_v2`.
        objectives: all of them.
        trials: how many are planned.
        sampler, scheduler, seed: of the study.
        workers: how many processes train a trial together.
        started, ended: times with their zone; `ended` is None until the run has ended.
        command: the command that began it.
        git: the commit of the code, and whether files were changed since; None outside a checkout.
        versions: package -> version.
        plugins: those of other packages -> what to install, such as `method mine` -> `my-package==1.0`; None: there are
            none.
        machine: host, CPUs, GPUs and memory.
        concurrent_trials: how many trials run at a time at most.
        sampler_arguments, scheduler_arguments: of Optuna's sampler and pruner.
        enough: why the study started no further trial although some were left and nothing had failed.
        post_hoc: the settings that every trial chooses from: dotted path -> values; None where only the winner's are
            chosen.
        imported: layout, file and SHA-256 of an imported checkpoint.
        replay_of: the run whose points are trained again.
        campaign: folder of the campaign that the run belongs to.
        more: entries that another version wrote, which are kept.
    """

    study_name: str = ""
    format: int = FORMAT
    name: str = ""
    kind: str = ""
    source: str = ""
    objective: str = ""
    objectives: tuple[str, ...] = ()
    trials: int | None = None
    sampler: str = ""
    scheduler: str = ""
    seed: int | None = None
    workers: int | None = None
    started: str | None = None
    ended: str | None = None
    command: str = ""
    git: dict[str, str | bool] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, str] | None = None
    machine: dict[str, str | float] | None = None
    concurrent_trials: int | None = None
    sampler_arguments: Values | None = None
    scheduler_arguments: Values | None = None
    enough: str | None = None
    post_hoc: Values | None = None
    imported: dict[str, str] | None = None
    replay_of: str | None = None
    campaign: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


_NULL = ("ended", "git")
"""Entries that are written even if they are empty."""


def parse_header(text: str) -> RunHeader:
    """The header in the text of a file.

    Raises:
        ValueError: the text is not JSON, or an entry has a wrong type or value.
    """
    header = parse_record(RunHeader, text)
    if header.study_name in (".", "..") or set(header.study_name) & set("/\\\0"):
        raise ValueError(f"study_name: {header.study_name!r} is not one plain part of a path")
    return header


def read_header(folder: Path) -> RunHeader:
    """`study.json` of a run folder.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / names.HEADER
    try:
        return parse_header(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: holds no run (no {names.HEADER})") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); restore it from a copy, or start a new run") from None


def write_header(folder: Path, header: RunHeader) -> None:
    """Write `study.json`: from now on the folder is a run."""
    content = {name: getattr(header, name) for name in entries_of(RunHeader)}
    kept = {name: value for name, value in content.items() if value is not None or name in _NULL}
    write_text(folder / names.HEADER, json.dumps({**kept, **header.more}, indent=1))


def update_header(folder: Path, **changes: Any) -> None:
    """Change entries of `study.json`."""
    write_header(folder, dataclasses.replace(read_header(folder), **changes))
