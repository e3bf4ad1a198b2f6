"""Decides which of the best trials of a search wins by what they reached with other seeds (`study.confirm`).

The value that a trial was selected by is left out of its mean: the highest of many noisy values is too high, and the
more noise, the more. How much is the difference between that value and the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from orchestrator.runs import names
from orchestrator.runs.result import ConfirmedTrial
from orchestrator.study.recorded import Recorded
from orchestrator.study.reruns import Rerun, planned_reruns, reached_values, winning_trial

DRAWS = 10_000


def confirming_reruns(study: Recorded) -> list[Rerun]:
    """The trainings with other seeds that `study.confirm` asks for when the search has ended."""
    wanted = study.experiment.study.confirm
    return [] if wanted is None else planned_reruns(study, wanted)


def is_confirmed(study: Recorded) -> bool:
    """Whether none of these trainings is left; also where none is asked for."""
    return all(_has_ended(rerun) for rerun in confirming_reruns(study))


def failures_of(rerun: Rerun) -> list[str]:
    """Why a training failed; empty if it did not."""
    failed = _recorded(rerun).failed() if _has_begun(rerun) else []
    return [str(trial.user_attrs.get("failure")) for trial in failed]


def confirmed_trials(study: Recorded) -> tuple[ConfirmedTrial, ...]:
    """The trials that were trained again with other seeds, in the order in which they were selected, with what they
    reached; empty if none was asked for or succeeded."""
    begun = [rerun for rerun in confirming_reruns(study) if _has_begun(rerun)]
    reached = reached_values((rerun, _recorded(rerun)) for rerun in begun)
    if not any(reached.values()):
        return ()
    first = probabilities_of_best({trial: list(values.values()) for trial, values in reached.items()})
    return tuple(
        ConfirmedTrial(trial, study.value(trial), values, first.get(trial)) for trial, values in reached.items()
    )


def winner_of(study: Recorded, confirmed: Sequence[ConfirmedTrial]) -> FrozenTrial | None:
    """The trial that wins: the confirmed one with the highest mean, else the one with the highest value; None if no
    trial is complete."""
    number = winning_trial({one.trial: one.seeds for one in confirmed})
    return study.best() if number is None else study.trials()[number]


def probabilities_of_best(values: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """The probability that each trial has the highest expected value over all seeds.

    The values of a trial are taken as normal with an expected value of its own and one variance for all trials; both
    are drawn from what is known of them after the values were seen, without knowing anything before.

    Args:
        values: trial -> what it reached with each seed.

    Returns:
        Trial -> probability, for the trials that have a value; empty where no trial has two values, because then
        nothing is known about the variance, or where there is only one trial.
    """
    known = {trial: np.array(reached, float) for trial, reached in values.items() if len(reached)}
    freedom = sum(len(reached) - 1 for reached in known.values())
    if freedom == 0 or len(known) < 2:
        return {}
    squares = sum(float(((reached - reached.mean()) ** 2).sum()) for reached in known.values())
    generator = np.random.default_rng(0)
    deviation = np.sqrt(squares / generator.chisquare(freedom, DRAWS))
    means = np.array([reached.mean() for reached in known.values()])[:, None]
    spread = 1 / np.sqrt([len(reached) for reached in known.values()])[:, None]
    drawn = means + spread * deviation * generator.standard_normal((len(known), DRAWS))
    first = drawn == drawn.max(0)
    shares = (first / first.sum(0)).mean(1)
    return dict(zip(known, shares.tolist(), strict=True))


def _has_begun(rerun: Rerun) -> bool:
    return (rerun.folder / names.HEADER).exists()


def _has_ended(rerun: Rerun) -> bool:
    return _has_begun(rerun) and all(trial.state.is_finished() for trial in _recorded(rerun).trials())


def _recorded(rerun: Rerun) -> Recorded:
    return Recorded(rerun.folder, rerun.loaded.experiment)
