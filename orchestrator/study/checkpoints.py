"""Decides which trials of a study keep their checkpoints, and which are compared with the winner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial

from orchestrator.runs.folder import trial_folder
from orchestrator.study.study import Study
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig


def kept_trials(study: Study) -> set[int]:
    """The trials whose best checkpoints outlive the search; one that is trained again may win."""
    ranked, confirm = study.ranked(), study.experiment.study.confirm
    best = {trial.number for trial in ranked[: study.experiment.study.keep_checkpoints]}
    again = {trial.number for trial in ranked[: confirm.top]} if confirm else set()
    return best | again | set(study.pareto_front())


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


def find_rivals(study: Study, folder: Path, winner: FrozenTrial) -> list[Rival]:
    """The best trials besides the winner whose checkpoint is still there.

    Trials that repeat another one are not rivals, and trials that were scored on images of another size cannot be
    compared.
    """
    found: list[Rival] = []
    data = study.config_of(winner).data
    for trial in study.ranked():
        place, config = trial_folder(folder, trial.number), study.scored_config_of(trial)
        if trial.number != winner.number and config.data == data and Checkpoints(place).best:
            found.append(Rival(trial.number, config, place.absolute()))
    return found[:RIVALS]
