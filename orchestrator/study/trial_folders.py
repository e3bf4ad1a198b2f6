"""The folders of a study's trials, and the TensorBoard files that the process that owns the study writes into them."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.tensorboard import write_begin, write_end
from orchestrator.study.recorded import Recorded


def take_folder(study: Recorded, trial: FrozenTrial) -> Path:
    """The folder of a trial that begins; the files of the failed trial that it tries again move there."""
    folder, failed = trial_folder(study.folder, trial.number), trial.user_attrs.get("retry_of")
    if failed is not None and not folder.exists() and trial_folder(study.folder, failed).exists():
        left = trial_folder(study.folder, failed)
        left.rename(folder)
        note_begun(study, study.trials()[failed])
        note_ended(study, study.trials()[failed])
        for path in folder.glob(names.HUNG_OF_ANY):
            path.rename(left / path.name)
    return folder


def note_begun(study: Recorded, trial: FrozenTrial) -> None:
    """Note for TensorBoard that a trial begins, perhaps again."""
    write_begin(trial_folder(study.folder, trial.number), study.config_of(trial), study.values_of(trial))


def note_ended(study: Recorded, trial: FrozenTrial) -> None:
    """Note for TensorBoard that a trial has ended, as its record says."""
    facts = trial.user_attrs
    succeeded = trial.state != TrialState.FAIL
    metrics, epoch = facts.get("metrics", {}), facts.get("best_epoch", 0)
    write_end(trial_folder(study.folder, trial.number), succeeded, metrics, epoch)
