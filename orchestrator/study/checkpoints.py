"""Which trials of a study keep their checkpoints, and which are compared with the winner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.runs.folder import trial_folder
from orchestrator.study.study import Study
from wsol.checkpoint import Checkpoints


def kept_trials(study: Study) -> set[int]:
    """The trials whose best checkpoints outlive the search."""
    return {trial.number for trial in study.ranked()[: study.experiment.study.keep_checkpoints]} | set(
        study.pareto_front()
    )


def drop_checkpoints(study: Study, folder: Path) -> None:
    """Delete the checkpoints of all ended trials but the best `study.keep_checkpoints` complete ones, and those that
    `retry` goes on from."""
    kept = kept_trials(study) | {trial.number for trial in study.failed()}
    for trial in study.trials():
        if trial.state.is_finished() and trial.number not in kept:
            Checkpoints(trial_folder(folder, trial.number)).drop_all()


RIVALS = 3
"""Each costs one more evaluation of train_fullsup after the search."""


def find_rivals(study: Study, folder: Path) -> list[dict[str, Any]]:
    """The best trials after the winner whose checkpoint is still there, as plain values: another process scores them.

    Trials that repeat another one are no rivals, and those that were scored on images of another size cannot be
    compared.
    """
    found: list[dict[str, Any]] = []
    ranked = [(trial, study.config_of(trial)) for trial in study.ranked()]
    for trial, config in ranked[1:]:
        place = trial_folder(folder, trial.number)
        if config.data == ranked[0][1].data and Checkpoints(place).best:
            found.append(
                {"number": trial.number, "config": config.model_dump(mode="json"), "folder": str(place.absolute())}
            )
    return found[:RIVALS]
