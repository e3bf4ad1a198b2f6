"""Trains the best trials of a search again with several seeds, each as an ordinary run. The trial with the highest mean
wins."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiment.load import Loaded
from orchestrator.experiment.paths import Values
from orchestrator.experiment.study_config import ConfirmConfig
from orchestrator.runs import names
from orchestrator.study.recorded import Recorded

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, slots=True)
class Rerun:
    """A trial that is trained again with one seed.

    Attributes:
        name: the name of its run.
        trial: its number in the search.
        seed: the seed that it is trained with now.
        folder: its run folder.
        loaded: its experiment, without a search.
    """

    name: str
    trial: int
    seed: int
    folder: Path
    loaded: Loaded


def planned_reruns(study: Recorded, wanted: ConfirmConfig, changes: Values | None = None) -> list[Rerun]:
    """The best trials of a search with each seed, and with some values changed; their run folders are in `seeds/` of
    the search's folder."""
    return [
        _rerun(study, trial, seed, changes or {}) for trial in study.ranked()[: wanted.top] for seed in wanted.seeds
    ]


def reached_values(studies: Iterable[tuple[Rerun, Recorded]]) -> dict[int, dict[int, float]]:
    """Trial -> seed -> what it reached with it; a failed seed is left out."""
    values: dict[int, dict[int, float]] = {}
    for rerun, study in studies:
        best = study.best()
        values.setdefault(rerun.trial, {}).update({} if best is None else {rerun.seed: best.values[0]})
    return values


def winning_trial(values: Mapping[int, Mapping[int, float]]) -> int | None:
    """The trial with the highest mean objective over its seeds. Trials with a failed seed come after the others. None
    if all failed.

    Args:
        values: see `reached_values`.
    """
    finished = {trial: list(reached.values()) for trial, reached in values.items() if reached}
    return max(finished, key=lambda trial: (len(finished[trial]), statistics.fmean(finished[trial])), default=None)


def _rerun(study: Recorded, trial: FrozenTrial, seed: int, changes: Values) -> Rerun:
    name = f"{study.folder.name}-t{trial.number}-s{seed}"
    config = study.experiment.alone(study.config_of(trial)).configure({**changes, "seed": seed})
    experiment = study.experiment.alone(config)
    return Rerun(
        name,
        trial.number,
        seed,
        study.folder / names.SEEDS / name,
        Loaded(experiment, f"trial {trial.number} of {study.folder}", name),
    )
