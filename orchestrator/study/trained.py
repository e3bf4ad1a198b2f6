"""Checks that the trials of a run trained what its experiment file says now: editing that file must not change what
their results mean."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from orchestrator.experiment.model import config_hash
from orchestrator.experiment.yaml_reader import read_yaml
from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.header import RunHeader
from orchestrator.study.recorded import Recorded
from wsol.config import TrainConfig
from wsol.errors import InputError, first_line, listed
from wsol.schema import differing


def require_as_trained(study: Recorded, header: RunHeader) -> None:
    """Compare the configuration of every trained trial with the one that the run's experiment gives now.

    Raises:
        InputError: one of them differs; the message names the differing values.
    """
    wanted = tuple(study.experiment.study.objectives)
    if header.objectives and header.objectives != wanted:
        raise _edited(study, f"study.objective: {', '.join(wanted)} and {', '.join(header.objectives)}")
    if header.post_hoc != (study.experiment.chosen_by_trials or None):
        raise _edited(study, "the settings that every trial chooses from (post_hoc, study.post_hoc)")
    for trial in study.trials():
        if other := _changes(study, trial):
            raise _edited(study, f"of trial {trial.number}, {listed(other)}")


def _changes(study: Recorded, trial: FrozenTrial) -> list[str]:
    """The differences between the experiment and a trial; empty if the trial was not trained."""
    digest = trial.user_attrs.get("config_hash")
    if digest is None or "repeats" in trial.user_attrs:
        return []
    try:
        config = study.config_of(trial)
    except (InputError, ValidationError, ValueError) as error:
        return [first_line(error)]
    if config_hash(config) == digest:
        return []
    path = trial_folder(study.folder, trial.number) / names.TRIAL_CONFIG
    if path.is_file():
        try:
            return differing(config, TrainConfig.model_validate(read_yaml(path).values))
        except (InputError, ValidationError) as error:
            return [f"{path}: {first_line(error)}"]
    is_trained = trial.intermediate_values or trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return [f"the configuration ({path} is missing, which would say more)"] if is_trained else []


def _edited(study: Recorded, what: str) -> InputError:
    return InputError(
        f"{study.folder / names.EXPERIMENT}: was changed after it was trained with; what it says, and what was trained:"
        f" {what}; put it back, or start a new run"
    )
