"""Compares the winner with other trials: how often it comes first in the bootstrap, and their maps beside its maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.study.checkpoints import Rival
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.data.images import ImageStore
    from wsol.method import Method
    from wsol.ops.boxes import Floats
    from wsol.scoring import Scores


@dataclass(frozen=True, slots=True)
class ScoredRival:
    """A trial that did not win, with the weights of its best epoch and its scores on train_fullsup."""

    number: int
    config: TrainConfig
    method: Method
    scores: Scores


def score_rivals(rivals: Sequence[Rival], images: ImageStore, num_classes: int) -> list[ScoredRival]:
    """Score trials on the images that the winner is scored on."""
    from wsol import build
    from wsol.scoring import score

    found = []
    for rival in rivals:
        checkpoints = Checkpoints(rival.folder)
        assert checkpoints.best is not None
        method = build.trained_method(rival.config, checkpoints.load(checkpoints.best)["method"], num_classes)
        found.append(ScoredRival(rival.number, rival.config, method, score(method, images, rival.config.evaluation)))
    return found


def first_places(winner: Scores, rivals: Sequence[ScoredRival], objective: str) -> dict[str, float]:
    """The share of bootstrap draws in which the `winner` and each rival, by its number, come first."""
    shares = shares_of_first([one.replicates[objective] for one in (winner, *(rival.scores for rival in rivals))])
    return dict(zip(["winner", *(str(rival.number) for rival in rivals)], shares, strict=True))


def shares_of_first(replicates: Sequence[Floats]) -> list[float]:
    """The share of bootstrap draws in which each of several trials has the highest value; trials with equal values
    share a draw.

    Args:
        replicates: for each trial its values (R,) in the same R draws; a draw that is not defined (NaN) for one of
            them is not counted.
    """
    values = np.stack(replicates)
    values = values[:, np.isfinite(values).all(0)]
    first = values == values.max(0)
    shares: list[float] = (first / first.sum(0)).mean(1).tolist() if values.size else [0.0] * len(values)
    return shares
