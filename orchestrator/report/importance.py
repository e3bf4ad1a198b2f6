"""The importance of each searched parameter, by PED-ANOVA.

A parameter is important if its values in the best tenth of the trials are distributed differently from those in all
trials. The measure is the Pearson divergence between the two densities, each estimated on a grid.

Papers: Watanabe et al., PED-ANOVA, IJCAI 2023, https://arxiv.org/abs/2304.10255; for parameters that only some trials
have, https://arxiv.org/abs/2601.20800. The numbers are those of Optuna's `PedAnovaImportanceEvaluator`, which cannot be
imported without scikit-learn: that alone takes longer than the whole report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


MIN_TRIALS = 4


BEST_SHARE = 0.1


GRID = 50
"""Number of steps of a grid, unless a parameter has fewer values."""


PRIOR_WEIGHT = 1.0
"""Weight of the prior, in trials: a kernel as wide as the grid, or one with the same weight for every choice."""


def importance(study: optuna.Study | None) -> dict[str, float]:
    """Search path -> importance, the largest first; the importances sum to 1.

    Args:
        study: its first objective counts; None if it could not be read.

    Returns:
        The importances; empty with fewer than four complete trials or without parameters.
    """
    trials = [
        trial
        for trial in ([] if study is None else study.get_trials(deepcopy=False))
        if trial.state.name == "COMPLETE" and trial.values and math.isfinite(trial.values[0])
    ]
    if study is None or len(trials) < MIN_TRIALS:
        return {}
    best = _best_trials(trials, maximize=study.directions[0].name == "MAXIMIZE")
    paths = dict.fromkeys(path for trial in trials for path in trial.distributions)
    found = {path: _separation(path, trials, best) for path in paths}
    total = sum(found.values())
    shares = {path: value / total if total else 1 / len(found) for path, value in found.items()}
    return dict(sorted(shares.items(), key=lambda share: -share[1]))


def _best_trials(trials: Sequence[FrozenTrial], maximize: bool) -> set[int]:
    """Numbers of the best tenth of the trials; all trials that tie with its last one are included."""
    losses = np.array([-trial.values[0] if maximize else trial.values[0] for trial in trials])
    cutoff = np.sort(losses)[math.ceil(BEST_SHARE * len(losses)) - 1]
    return {trial.number for trial, loss in zip(trials, losses, strict=True) if loss <= cutoff}


def _separation(path: str, trials: Sequence[FrozenTrial], best: set[int]) -> float:
    """How differently the best trials are distributed in one parameter, summed over the ranges that it was drawn from.
    A range has more weight if more of the best trials, and fewer of all trials, drew from it."""
    ranges: dict[BaseDistribution, list[FrozenTrial]] = {}
    for trial in trials:
        if path in trial.distributions:
            ranges.setdefault(trial.distributions[path], []).append(trial)
    total = 0.0
    for space, drawn in ranges.items():
        top = [trial.params[path] for trial in drawn if trial.number in best]
        if len(drawn) >= 2 and top and not space.single():
            there, everywhere = _density(space, top), _density(space, [trial.params[path] for trial in drawn])
            divergence = float(everywhere @ (there / everywhere - 1) ** 2)
            total += (len(top) / len(best)) ** 2 / (len(drawn) / len(trials)) * divergence
    return total


def _density(space: BaseDistribution, values: Sequence[Any]) -> np.ndarray:
    """The density (G,) of values over the grid of their range, or over its choices; positive everywhere."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(space, CategoricalDistribution):
        places = [int(space.to_internal_repr(value)) for value in values]
        return _density_of_choices(np.bincount(places, minlength=len(space.choices))) + 1e-12
    assert isinstance(space, FloatDistribution | IntDistribution)
    steps = GRID if space.step is None else min(round((space.high - space.low) / space.step) + 1, GRID)
    if space.log and isinstance(space, IntDistribution):
        steps = min(math.ceil(math.log2(space.high - space.low + 1)) + 1, GRID)
    low, high, *drawn = np.log([space.low, space.high, *values]) if space.log else [space.low, space.high, *values]
    nearest = np.ceil((np.array(drawn) - low) / ((high - low) / (steps - 1)) - 0.5)  # of two, the lower one
    return _density_of_steps(np.bincount(nearest.clip(0, steps - 1).astype(int), minlength=steps)) + 1e-12


def _density_of_choices(counts: np.ndarray) -> np.ndarray:
    """One kernel for each choice that was drawn, and the prior."""
    drawn = np.flatnonzero(counts)
    kernels = np.full((len(drawn) + 1, len(counts)), PRIOR_WEIGHT / (len(drawn) + 1))
    kernels[np.arange(len(drawn)), drawn] += 1
    weights = np.append(counts[drawn], PRIOR_WEIGHT)
    return np.asarray(weights / weights.sum() @ (kernels / kernels.sum(1, keepdims=True)))


def _density_of_steps(counts: np.ndarray) -> np.ndarray:
    """One kernel for each step with values, as wide as Scott's rule says, and the prior."""
    places, size = np.flatnonzero(counts), len(counts)
    weights = counts[places]
    centres = np.append(places, (size - 1) / 2)[:, None]
    widths = np.append(np.full(len(places), _scott_width(places, weights)), size)[:, None]
    edges = _normal_cdf((np.arange(size + 1) - 0.5 - centres) / widths)
    kernels = np.diff(edges) / (edges[:, -1:] - edges[:, :1])
    shares = np.append(weights, PRIOR_WEIGHT)
    return np.asarray(shares / shares.sum() @ kernels)


def _scott_width(places: np.ndarray, weights: np.ndarray) -> float:
    """The standard deviation of a kernel: Scott's rule, with the quartiles against outliers; wide enough to fill a
    step."""
    total, reached = int(weights.sum()), weights.cumsum()
    mean = places @ weights / total
    deviation = math.sqrt((places - mean) ** 2 @ weights / max(1, total - 1))
    first = np.searchsorted(reached, total // 4, side="left")
    third = min(len(places) - 1, int(np.searchsorted(reached, total * 3 // 4, side="right")))
    quartiles = float(places[third] - places[first])
    return max(1.059 * min(quartiles / 1.34, deviation) * math.pow(total, -0.2), 0.5 / 1.64)


def _normal_cdf(values: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.vectorize(math.erf)(values / math.sqrt(2))))
