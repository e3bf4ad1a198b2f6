"""Decides when a study starts no further trial although some are left: its time is used up, or it has found enough.

The answer depends on the journal alone, so whoever opens the study again finds the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.experiment.study_config import StopConfig, StudyConfig
from wsol.errors import counted

FIRST_LOOK = 20
"""Number of complete trials before which the regret is not estimated; Optuna's default."""


class Limits:
    """The bounds of a study besides the number of its trials.

    Args:
        study: the study's settings, with its hours and when to stop.
    """

    def __init__(self, study: StudyConfig) -> None:
        self._study = study
        self._looked: tuple[int, str | None] = (0, None)  # trials that had ended, and what was found then

    def reached(self, trials: Sequence[FrozenTrial], seconds: float) -> str | None:
        """The reason why no further trial is started, in words; None while more may be.

        Args:
            trials: all trials of the study, in the order of their numbers.
            seconds: how long it took so far, over all sessions.
        """
        hours, stop = self._study.hours, self._study.stop
        if hours is not None and seconds >= hours * 3600:
            return f"the {hours:g} hours of this study are spent (study.hours)"
        if stop is None:
            return None
        ended = sum(map(_counts, trials))
        if ended != self._looked[0]:
            self._looked = ended, out_of_patience(stop, trials) or little_to_gain(stop, trials, self._study.seed)
        return self._looked[1]


def out_of_patience(stop: StopConfig, trials: Sequence[FrozenTrial]) -> str | None:
    """The reason why waiting for a better trial ends, in words; None while it may go on.

    Args:
        stop: has `patience`, the number of trials to wait for a better one.
        trials: all trials of the study, in the order of their numbers; failed ones and repetitions do not count.
    """
    if stop.patience is None:
        return None
    ended = [trial for trial in trials if _counts(trial)]
    values = [trial.values[0] if trial.state == TrialState.COMPLETE else float("-inf") for trial in ended]
    if not values or max(values) == float("-inf"):
        return None
    best = values.index(max(values))
    if len(ended) - 1 - best < stop.patience:
        return None
    return (
        f"the last {counted(len(ended) - 1 - best, 'trial')} found nothing better than trial {ended[best].number}"
        f" (study.stop.patience: {stop.patience})"
    )


def little_to_gain(stop: StopConfig, trials: Sequence[FrozenTrial], seed: int) -> str | None:
    """The reason that no more than a few points can still be gained, in words; None while more can. The regret is
    bounded by Optuna's Gaussian process over the searched values that all trials have (Makarova et al., Automatic
    Termination for Hyperparameter Optimization, AutoML 2022).

    Args:
        stop: has `regret`, how many points count as few.
        trials: see `out_of_patience`.
        seed: the study's seed; the bound is found by sampling.
    """
    from optuna.terminator import RegretBoundEvaluator

    complete = [trial for trial in trials if _counts(trial) and trial.state == TrialState.COMPLETE]
    if stop.regret is None or len(complete) < FIRST_LOOK:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental
        evaluator = RegretBoundEvaluator(min_n_trials=FIRST_LOOK, seed=seed)
    try:
        bound = evaluator.evaluate(complete, StudyDirection.MAXIMIZE)
    except ValueError:  # no value is searched in all of them
        return None
    if bound >= stop.regret:
        return None
    return f"no more than {bound:.2g} points can be gained, as far as can be told (study.stop.regret: {stop.regret:g})"


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and "repeats" not in trial.user_attrs
