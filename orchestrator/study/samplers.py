"""The Optuna samplers behind `study.sampler`, which draw the trials of a study."""

from __future__ import annotations

import hashlib
import importlib.util
from typing import TYPE_CHECKING, Any

from wsol.errors import InputError

if TYPE_CHECKING:
    import optuna


Arguments = dict[str, Any]
"""Keyword arguments of one of Optuna's samplers or pruners."""

# Optuna 5's defaults written out, so that another version does not change the trials silently. A study keeps a copy in
# its header.
SAMPLERS: dict[str, Arguments] = {
    "random": {},
    "tpe": {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": True, "constant_liar": True, "group": False},
    "gp": {"n_startup_trials": 10, "deterministic_objective": False, "warn_independent_sampling": False},
    "cma_es": {
        "n_startup_trials": 1,
        "popsize": None,
        "with_margin": False,
        "lr_adapt": False,
        "warn_independent_sampling": False,
    },
    "qmc": {"qmc_type": "sobol", "scramble": True, "warn_independent_sampling": False},
    "grid": {},
}


PACKAGES = {"gp": ("scipy",), "cma_es": ("cmaes",), "qmc": ("scipy",)}


def make_sampler(name: str, arguments: Arguments, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for one trial; a grid's points are enqueued instead.

    Its seed is a function of (study seed, trial number), so a resumed study draws exactly like an uninterrupted one. A
    QMC sequence has one seed; the study's journal counts its points.

    Args:
        name: a key of `SAMPLERS`.
        arguments: keyword arguments, as in `SAMPLERS`.
        seed: the study's seed.
        number: the trial's number.
    """
    from optuna import samplers

    derived = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
    if name == "qmc":
        return samplers.QMCSampler(seed=seed, independent_sampler=samplers.RandomSampler(seed=derived), **arguments)
    kinds: dict[str, type] = {"tpe": samplers.TPESampler, "gp": samplers.GPSampler, "cma_es": samplers.CmaEsSampler}
    sampler: samplers.BaseSampler = kinds.get(name, samplers.RandomSampler)(seed=derived, **arguments)
    return sampler


def require_sampler_packages(sampler: str) -> None:
    """Raises InputError if a sampler needs a package that is not installed."""
    missing = [package for package in PACKAGES.get(sampler, ()) if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"study.sampler: {sampler} needs {' and '.join(missing)}; install it with: pip install"
            " 'wsol-search[samplers]'"
        )
