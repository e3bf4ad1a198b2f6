"""The scheduler `race`: stops a trial that is surely worse than the leader on the same images.

Other schedulers compare two numbers, and do not know how much of their difference is the luck of a few images. A search
for localization has the outcome of every image (`wsol/by_image.py`), so a trial is compared with the leader pair by
pair.

The leader is the complete trial with the highest value so far. A trial is stopped after an epoch if all of this holds:

    it has settled      grace period, see `orchestrator/experiment/grace.py`
    it is behind surely it would be so far behind with a probability below `study.risk` if it were as good
    it cannot catch up  it is behind by more than the leader, or any other complete trial, changed in any later epoch

"As good" means that on each image either could be the better one. Then the sign of every difference is a coin's, and
the sum of the differences d exceeds t with a probability of at most exp(-t^2 / (2 sum d^2)) (Hoeffding, Probability
inequalities for sums of bounded random variables, JASA 1963): no table, no random draw, and never too sure, however few
images there are. A trial is looked at after several epochs, so each look has its share of the risk (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.runs.by_image import ImageNumbers, Numbers


class Race(optuna.pruners.BasePruner):
    """Compares a running trial with the leader at the same epoch. Its decisions depend on the journal and on
    `study.images` alone, so a resumed study decides as before.

    Args:
        numbers: of all images in every epoch.
        grace_epochs: the first epoch after which a trial may be stopped.
        risk: the probability with which a trial that is as good as the leader may be stopped.
        looks: after how many epochs a trial is looked at.
    """

    def __init__(self, numbers: ImageNumbers, grace_epochs: int, risk: float, looks: int) -> None:
        self._numbers, self._grace_epochs, self._risk = numbers, grace_epochs, risk / looks

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial is stopped after its last epoch."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        epoch, leader = trial.last_step, leader_of(complete)
        if epoch is None or epoch < self._grace_epochs or leader is None or epoch not in leader.intermediate_values:
            return False
        behind = leader.intermediate_values[epoch] - trial.intermediate_values[epoch]
        curves = [other.intermediate_values for other in complete if epoch in other.intermediate_values]
        if behind <= max(largest_change(curve, epoch) for curve in curves):
            return False
        own, best = self._numbers.of(trial.number, epoch), self._numbers.of(leader.number, epoch)
        if own is None or best is None or own.shape != best.shape:
            return False
        return chance(best - own) < self._risk


def leader_of(complete: list[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the highest value, the first of equal ones; None if there is none."""
    own = [trial for trial in complete if "repeats" not in trial.user_attrs]
    return max(own, key=lambda trial: (trial.values[0], -trial.number), default=None)


def largest_change(curve: Mapping[int, float], epoch: int) -> float:
    """By how much a later epoch differs most from this one; infinite if there is no later one."""
    return max((abs(value - curve[epoch]) for later, value in curve.items() if later > epoch), default=math.inf)


def chance(differences: Numbers) -> float:
    """A bound of the probability that the sum of the differences (n,) would be as high if all their signs were coins'
    throws; 1 if it is not above 0."""
    exact = differences.astype(np.float64)
    total, squares = float(exact.sum()), float((exact**2).sum())
    return 1.0 if total <= 0 else math.exp(-(total**2) / (2 * squares))
