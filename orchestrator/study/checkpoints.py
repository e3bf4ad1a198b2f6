"""Decides which trials of a study keep their checkpoints, and which are compared with the winner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.runs.folder import trial_folder
from orchestrator.study.study import Study
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig


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
"""Number of rivals; each costs one more evaluation of train_fullsup after the search."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A trial that the winner is compared with.

    Attributes:
        number: the trial's number.
        config: the configuration that its value belongs to: what it trained, with the post-hoc setting that it chose.
        folder: the folder of its checkpoints.
    """

    number: int
    config: TrainConfig
    folder: Path


def find_rivals(study: Study, folder: Path) -> list[Rival]:
    """The best trials after the winner whose checkpoint is still there.

    Trials that repeat another one are not rivals, and trials that were scored on images of another size cannot be
    compared.
    """
    found: list[Rival] = []
    ranked = [(trial, study.scored_config_of(trial)) for trial in study.ranked()]
    for trial, config in ranked[1:]:
        place = trial_folder(folder, trial.number)
        if config.data == ranked[0][1].data and Checkpoints(place).best:
            found.append(Rival(trial.number, config, place.absolute()))
    return found[:RIVALS]
