"""The trials of a study as its journal records them; this file only reads."""

from __future__ import annotations

from pathlib import Path

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.paths import Values
from orchestrator.experiment.post_hoc import post_hoc_settings, with_setting
from orchestrator.experiment.scalars import Scalar
from orchestrator.experiment.space import without_noise
from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.journal import open_study
from wsol.checkpoint import SETTING, Record
from wsol.config import TrainConfig


class Recorded:
    """The trials of one run folder.

    Args:
        folder: the run folder, with `study.json`.
        experiment: the experiment that is searched.

    Raises:
        InputError: the folder holds no study, or Optuna cannot read it.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder, self.experiment = folder, experiment
        self._study = open_study(folder)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in the order of their numbers; if states are given, only trials in these states."""
        return self._study.get_trials(deepcopy=False, states=states or None)

    def lineage(self, number: int) -> list[int]:
        """A trial and the failed ones that it tries again, the latest first."""
        found = [number]
        while (failed := self.trials()[found[-1]].user_attrs.get("retry_of")) is not None:
            found.append(failed)
        return found

    def ranked(self) -> list[FrozenTrial]:
        """The complete trials, highest value (of the first objective) first, equal values in the order of the trials;
        without trials that repeat another."""
        complete = (trial for trial in self.trials(TrialState.COMPLETE) if "repeats" not in trial.user_attrs)
        return sorted(complete, key=lambda trial: -trial.values[0])

    def best(self) -> FrozenTrial | None:
        """The first of the ranked trials."""
        return next(iter(self.ranked()), None)

    def pareto_front(self) -> list[int]:
        """With several objectives: the trials that no other is better than in all of them."""
        return [trial.number for trial in self._study.best_trials] if len(self.experiment.study.objectives) > 1 else []

    def value(self, number: int) -> float:
        """The value of a complete trial."""
        return float(self.trials()[number].values[0])

    def values_of(self, trial: FrozenTrial) -> Values:
        """The values that a recorded trial changed in `trial`, as it was trained, without the rounding noise of
        Optuna's steps in the journal."""
        drawn = {path: _as_drawn(value, trial.distributions[path]) for path, value in trial.params.items()}
        return {**trial.user_attrs.get("values", {}), **drawn}

    def config_of(self, trial: FrozenTrial) -> TrainConfig:
        """The configuration that a recorded trial trained."""
        return self.experiment.configure(self.values_of(trial))

    def choice_in(self, number: int, record: Record) -> Values:
        """What a trial keeps of its best epoch: the post-hoc setting that it was scored under, where one was chosen."""
        if SETTING not in record:
            return {}
        settings = post_hoc_settings(self.config_of(self.trials()[number]), self.experiment.post_hoc)
        return {"post_hoc": settings[int(record[SETTING])][0]}

    def setting_of(self, trial: FrozenTrial) -> Values | None:
        """The post-hoc setting that a trial chose for its best epoch; None if trials choose none."""
        setting: Values | None = trial.user_attrs.get("post_hoc")
        return setting

    def scored_config_of(self, trial: FrozenTrial) -> TrainConfig:
        """The configuration that the value of a complete trial belongs to: the one it trained, with the post-hoc
        setting that it chose."""
        return with_setting(self.config_of(trial), self.setting_of(trial) or {})

    def _first_with(self, digest: str, number: int) -> FrozenTrial | None:
        """The trial before `number` that has the same configuration, unless it failed or is a repetition itself."""
        alike = (
            trial
            for trial in self.trials()[:number]
            if trial.user_attrs.get("config_hash") == digest and trial.state != TrialState.FAIL
        )
        return next((trial for trial in alike if "repeats" not in trial.user_attrs), None)

    def _takes_last(self, number: int) -> bool:
        """Whether the value of a trial is the one of its last epoch."""
        return self.config_of(self.trials()[number]).training.checkpoint == "last"

    def failed(self) -> list[FrozenTrial]:
        """The failed trials that were not enqueued again."""
        put_back = {trial.user_attrs.get("retry_of") for trial in self.trials()}
        return [trial for trial in self.trials(TrialState.FAIL) if trial.number not in put_back]

    def _count_started(self) -> int:
        """Number of trials that have begun; one that was enqueued again counts once."""
        return (
            sum(trial.state != TrialState.WAITING for trial in self.trials())
            - len(self.trials(TrialState.FAIL))
            + len(self.failed())
        )

    def _waiting(self) -> list[FrozenTrial]:
        return self.trials(TrialState.WAITING)

    def _untried(self, grid: list[Values]) -> list[Values]:
        """The points of a grid that no trial has tried."""
        plain = [trial for trial in self.trials() if not trial.user_attrs.get("values")]
        tried = {frozenset((trial.params or trial.system_attrs.get("fixed_params", {})).items()) for trial in plain}
        return [point for point in grid if frozenset(point.items()) not in tried]

    def _full_failure(self) -> str:
        """The traceback of the last failure if there is one, else its reason."""
        trial = self.trials(TrialState.FAIL)[-1]
        error = trial_folder(self.folder, trial.number) / names.ERROR
        return error.read_text().strip() if error.exists() else str(trial.user_attrs["failure"])


def _as_drawn(value: Scalar, distribution: BaseDistribution) -> Scalar:
    """The value that `Space.suggest` returned for a value in the journal."""
    if isinstance(value, float) and isinstance(distribution, FloatDistribution):
        return without_noise(value, distribution.low, distribution.step)
    return value
