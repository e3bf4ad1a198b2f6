"""Trains the best trials of a search again with several seeds, each as an ordinary run. The trial with the highest mean
wins."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.experiment.load import Loaded
from orchestrator.runs import names

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from orchestrator.campaign.model import Reruns
    from orchestrator.study.study import Study


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


def planned_reruns(study: Study, wanted: Reruns) -> list[Rerun]:
    """The best trials of a search with each seed; their run folders are in `seeds/` of the search's folder."""
    return [_rerun(study, trial, seed, wanted) for trial in study.ranked()[: wanted.top] for seed in wanted.seeds]


def winning_trial(studies: Sequence[tuple[Rerun, Study]]) -> int | None:
    """The trial with the highest mean objective over its seeds. Trials with a failed seed come after the others. None
    if all failed."""
    values: dict[int, list[float]] = {}
    for rerun, study in studies:
        best = study.best()
        values.setdefault(rerun.trial, []).extend([] if best is None else [best.values[0]])
    finished = {trial: reached for trial, reached in values.items() if reached}
    return max(finished, key=lambda trial: (len(finished[trial]), statistics.fmean(finished[trial])), default=None)


def _rerun(study: Study, trial: FrozenTrial, seed: int, wanted: Reruns) -> Rerun:
    name = f"{study.folder.name}-t{trial.number}-s{seed}"
    config = study.experiment.alone(study.config_of(trial)).configure({**wanted.set, "seed": seed})
    experiment = study.experiment.alone(config)
    return Rerun(
        name,
        trial.number,
        seed,
        study.folder / names.SEEDS / name,
        Loaded(experiment, f"trial {trial.number} of {study.folder}", name),
    )
