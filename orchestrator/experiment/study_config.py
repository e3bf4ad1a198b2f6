"""The section `study` of a search-space file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from wsol.config import LARGEST_SEED
from wsol.errors import named
from wsol.schema import Strict

RESUMABLE = (
    *("trials", "hours", "stop", "max_failures", "hang_minutes", "max_failed_trials", "keep_checkpoints"),
    "confirm",
)
"""The settings that may change when a study is resumed."""


def distinct(values: list[Any]) -> list[Any]:
    """The values, if no two of them are equal; else raises ValueError."""
    if len({*values}) < len(values):
        raise ValueError("should differ from each other")
    return values


Seeds = Annotated[
    list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]], Field(min_length=1, max_length=20), AfterValidator(distinct)
]
"""Random seeds of a training, all different."""


class StopConfig(Strict):
    """When a search stops early because it has found enough; whichever of the two comes first.

    Attributes:
        patience: stop after so many trials in a row that found nothing better; stopped trials count, failed ones do
            not.
        regret: stop when a Gaussian process, fitted to at least 20 trials, expects that no more than this many points
            of the objective can still be gained; only for one objective.
    """

    patience: int | None = Field(default=None, ge=1)
    regret: float | None = Field(default=None, gt=0)


class ConfirmConfig(Strict):
    """How the best trials of a search are trained again.

    Attributes:
        top: how many trials.
        seeds: the seeds that each of them is trained with. The search itself used `trial.seed` and selected by it, so
            other seeds give unbiased numbers.
    """

    top: int = Field(default=3, ge=1)
    seeds: Seeds = [1, 2]

    @property
    def count(self) -> int:
        """The largest number of such trainings."""
        return self.top * len(self.seeds)

    def in_words(self) -> str:
        """What is trained again, in words."""
        trials = "the best trial" if self.top == 1 else f"the best {self.top} trials"
        return f"{trials} again with {named('seed', self.seeds)}"


class StudyConfig(Strict):
    """What is searched for and how.

    Attributes:
        objective: `train_fullsup/<metric>`: a trial's value is the best it reaches in any epoch. The test split cannot
            be named. In a list, the first objective chooses epoch and winner, and the samplers that can (`tpe`, `gp`)
            look for the best compromises between all of them.
        trials: how many configurations are trained; the first is the published point, then the named ones.
        sampler: `tpe` (Optuna's multivariate TPE; its first 10 trials are random), `random` (the official protocol),
            `gp`, `cma_es`, `qmc` (these three draw conditional values, and those with the bounds of others, at random),
            or `grid` (all combinations, shuffled).
        seed: random seed of the sampler. With one trial at a time, the same seed gives the same trials.
        scheduler: stops trials that fall behind: `none` (the protocol), `asha`, `median`, `hyperband`, or `race`, which
            compares a trial with the best complete one on single images, see `orchestrator/study/race.py`.
        grace_epochs: no trial is stopped before this epoch, nor while warm-up lasts or before start epochs; null: nor
            before the first decay of the learning rate either.
        reduction_factor: `asha` and `hyperband` let the best 1/n go on at epochs g, g*n, g*n*n, ... where g is the
            first epoch they may stop at.
        risk: the probability with which `race` may stop a trial that is as good as the best one; null: 0.05.
        hours: wall time over all sessions of the study, after which no new trial starts; null: no limit.
        stop: `{patience: 20}` or `{regret: 0.5}`: no new trial starts when enough was found; null: all are trained.
        max_failures: how often a trial whose process dies is started again from its last checkpoint.
        hang_minutes: a trial that finishes no epoch for so many minutes is ended and started again from its last
            checkpoint, which counts as one of its `max_failures`; null: ten times the longest epoch of the study so
            far, at least 30 minutes, and no limit before its first one.
        max_failed_trials: the study stops when so many trials have failed; null: never.
        keep_checkpoints: the best checkpoints of so many trials are kept when the search has ended.
        post_hoc: when the settings of `post_hoc` are chosen: once, for the `winner`; or after each epoch of
            `every_trial`, where the value of an epoch is that of its best setting, with which the winner is tested.
        confirm: `{top: 3, seeds: [1, 2]}`: after the search, its best trials are trained again with other seeds, and
            the highest mean of these on train_fullsup wins. The value that a trial was selected by does not count,
            because being selected made it too high; null: the trial with the highest value wins.
        loggers: `mlflow`, `wandb`: a search logs its trials there too; see `orchestrator/trials/loggers.py`.
    """

    objective: str | list[str] = Field(default="train_fullsup/max_box_acc_v2", min_length=1)
    trials: int = Field(default=30, ge=1)
    sampler: Literal["tpe", "random", "gp", "cma_es", "qmc", "grid"] = "tpe"
    seed: int = Field(default=0, ge=0, lt=2**32)
    scheduler: Literal["none", "asha", "median", "hyperband", "race"] = "none"
    grace_epochs: int | None = Field(default=None, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    risk: float | None = Field(default=None, gt=0, lt=0.5)
    hours: float | None = Field(default=None, gt=0)
    stop: StopConfig | None = None
    max_failures: int = Field(default=3, ge=0)
    hang_minutes: float | None = Field(default=None, gt=0)
    max_failed_trials: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=5, ge=1)
    post_hoc: Literal["winner", "every_trial"] = "winner"
    confirm: ConfirmConfig | None = None
    loggers: list[Literal["mlflow", "wandb"]] = []

    @field_validator("objective")
    @classmethod
    def _selects_on_train_fullsup(cls, objective: str | list[str]) -> str | list[str]:
        for one in [objective] if isinstance(objective, str) else objective:
            if not one.startswith("train_fullsup/"):
                raise ValueError(
                    f"should be train_fullsup/<metric>, got {one!r}: configurations are selected on that split only"
                )
        return objective

    @field_validator("risk")
    @classmethod
    def _risk_is_of_race(cls, risk: float | None, info: ValidationInfo) -> float | None:
        if risk is not None and info.data.get("scheduler") != "race":
            raise ValueError(f"is of scheduler race, and this one is {info.data.get('scheduler')}: leave it out")
        return risk

    @field_validator("stop")
    @classmethod
    def _regret_is_of_one_objective(cls, stop: StopConfig | None, info: ValidationInfo) -> StopConfig | None:
        if stop is not None and stop.regret is not None and not isinstance(info.data.get("objective", ""), str):
            raise ValueError("regret is of one objective; use patience where there are several")
        return stop

    @property
    def objectives(self) -> list[str]:
        """All objectives, the one that chooses epoch and winner first."""
        return [self.objective] if isinstance(self.objective, str) else self.objective

    def of_given_points(self, trials: int) -> StudyConfig:
        """The same study for so many given points: nothing is drawn, and nothing ends early or is confirmed."""
        search = {"risk": None, "hours": None, "stop": None, "confirm": None}
        return self.model_copy(update={"trials": trials, "sampler": "random", "scheduler": "none", **search})
