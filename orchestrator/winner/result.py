"""Exports the winner: weights and configuration into `best/`, and `best.yaml`, a file that trains it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiment.foreign import to_install
from orchestrator.experiment.paths import Values
from orchestrator.formats import to_yaml
from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.study.study import Study
from wsol.checkpoint import Checkpoints, holds_state, write_state
from wsol.errors import InputError
from wsol.files import sha256, write_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from orchestrator.experiment.model import Experiment


@dataclass(frozen=True, slots=True)
class Export:
    """The checkpoint that was exported.

    Attributes:
        epoch: the epoch after which it was written.
        checkpoint_sha256: SHA-256 of the exported weights.
    """

    epoch: int
    checkpoint_sha256: str


def export_winner(study: Study, trial: FrozenTrial, folder: Path) -> Export:
    """Copy the best checkpoint of the best trial to `best/`, unless it is there already.

    Raises:
        InputError: the checkpoint is missing.
    """
    config = study.config_of(trial)
    checkpoints = Checkpoints(trial_folder(folder, trial.number), config)
    if checkpoints.best is None:
        raise InputError(
            f"{checkpoints.folder}: the winner's checkpoint is missing; restore it from a copy, or train this point"
            f" again: python launch.py replay {folder} --trial {trial.number}"
        )
    (folder / names.WINNER).mkdir(exist_ok=True)
    weights, state = folder / names.WINNER_WEIGHTS, {"method": checkpoints.load(checkpoints.best)["method"]}
    # another version packs the same weights otherwise: the file whose SHA-256 is on record stays
    digest = sha256(weights) if holds_state(weights, state) else write_state(weights, state)
    write_config(study.experiment, folder, f"Trial {trial.number}", config.model_dump(mode="json"))
    return Export(checkpoints.best.epoch, digest)


def write_config(experiment: Experiment, folder: Path, what: str, config: Values) -> None:
    """Write `best/config.yaml`, and `best.yaml`, an experiment that trains the same configuration again; `what`
    describes it in the file's head."""
    write_text(folder / names.WINNER_CONFIG, to_yaml(config))
    plain = experiment.model_dump(mode="json")
    study = {**plain["study"], "post_hoc": "winner"}
    whole = {**plain, "trial": config, "search": {}, "post_hoc": {}, "study": study}
    write_text(
        folder / names.WINNER_EXPERIMENT,
        f"# {what} of {folder.name}: python launch.py train {folder / names.WINNER_EXPERIMENT}\n"
        f"{to_install(experiment)}{to_yaml(whole)}",
    )
