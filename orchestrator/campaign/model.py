"""A campaign file: methods x backbones x data sets by one protocol. Every combination is a cell: one of the
search-space files, changed.

methods:                                    # name -> its file; {dataset} stands for the name of a data set
  cam: {file: ../cam_{dataset}.yaml}
backbones:                                  # name -> what it changes in the file: a `variant`, or values with `set`
  resnet50: {}
  vgg16: {variant: vgg16}
datasets: [cub]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from orchestrator.experiment.load import Loaded
from orchestrator.experiment.model import Experiment, ResourcesConfig, config_hash
from orchestrator.experiment.paths import Values
from orchestrator.experiment.study_config import ConfirmConfig, Seeds, distinct
from wsol.errors import counted
from wsol.schema import Strict

AXES = {"method": "method", "backbone": "backbone", "dataset": "data set"}


Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Change(Strict):
    """The changes of a search-space file.

    Attributes:
        variant: a variant of the file, or several separated by commas.
        set: dotted path -> value, as `KEY=VALUE` on the command line; a searched value is fixed and no longer searched.
    """

    variant: str | None = None
    set: Values = {}


class MethodChange(Change):
    """A method of a campaign.

    Attributes:
        file: the method's search-space file, relative to the campaign file; `{dataset}` stands for the name of the data
            set.
        after: a method listed above this one; this method's trials start from its winner with the same backbone and
            data set (`initial_run`).
    """

    file: str
    after: str | None = None


class Reruns(ConfirmConfig):
    """How the best trials of each cell are trained again.

    Attributes:
        set: dotted path -> value, changed in the trials, such as a data set's short list of training images: null.
    """

    top: int = Field(default=1, ge=1)
    seeds: Seeds = [1, 2, 3]
    set: Values = {}


class Campaign(Strict):
    """A campaign file. The defaults are the published protocol (Choe et al., CVPR 2020): 30 random draws for each
    method, none stopped early, the last epoch counts, the winner on train_fullsup is tested once. What is a rule of
    the comparison does not come from the files of the methods.

    Attributes:
        methods: name -> search-space file.
        backbones: name -> its changes of these files.
        datasets: names of the data sets.
        trials: number of trials of each cell.
        sampler: see `StudyConfig`.
        scheduler: what stops trials that fall behind, see `StudyConfig`; its `grace_epochs` are those of the files.
        seed: the random seed of the sampler.
        published_points: try the published settings of the files first; they count as trials.
        checkpoint: see `TrainingConfig`.
        reruns: after its search, the best trials of a cell are trained again with several seeds, the highest mean on
            train_fullsup wins, and each of the winner's seeds is tested; null: the search's own winner is.
        set: dotted path -> value, changed in every cell whose method and backbone do not set it themselves. Overrides
            on the command line whose key is not one of the campaign's go here too, and win over all that the file says.
        resources: what each trial of every cell gets; those of the files do not count.
    """

    methods: dict[Name, MethodChange] = Field(min_length=1)
    backbones: dict[Name, Change] = Field(min_length=1)
    datasets: Annotated[list[Name], AfterValidator(distinct)] = Field(min_length=1)
    trials: int = Field(default=30, ge=1)
    sampler: Literal["random", "tpe", "gp", "cma_es", "qmc"] = "random"
    scheduler: Literal["none", "asha", "median", "hyperband", "race"] = "none"
    seed: int = Field(default=0, ge=0, lt=2**32)
    published_points: bool = False
    checkpoint: Literal["best", "last"] = "last"
    reruns: Reruns | None = None
    set: Values = {}
    resources: ResourcesConfig = ResourcesConfig()

    @field_validator("methods")
    @classmethod
    def _start_from_earlier_ones(cls, methods: dict[str, MethodChange]) -> dict[str, MethodChange]:
        names = list(methods)
        for index, (name, method) in enumerate(methods.items()):
            if method.after is not None and method.after not in names[:index]:
                raise ValueError(f"{name} is after {method.after!r}, which must stand above it")
        return methods


@dataclass(frozen=True, slots=True)
class Combination:
    """The combination that makes a cell, by the names in the campaign file.

    Attributes:
        name: the name of the cell and of its folder.
        method, backbone, dataset: the combined parts.
        after: the cell whose winner it starts from; None for most.
    """

    name: str
    method: str
    backbone: str
    dataset: str
    after: str | None


@dataclass(frozen=True, slots=True)
class CampaignCell(Combination):
    """One search of a campaign.

    Attributes:
        loaded: the checked experiment of the cell.
    """

    loaded: Loaded

    @property
    def experiment(self) -> Experiment:
        """The experiment that the cell searches."""
        return self.loaded.experiment

    def combination(self) -> Combination:
        """The combination of the cell, without its experiment."""
        return Combination(self.name, self.method, self.backbone, self.dataset, self.after)


@dataclass(frozen=True, slots=True)
class Planned:
    """A checked campaign: its cells, ordered so that those that others start from come first.

    Attributes:
        name: the name of the campaign file.
        source: the path of the campaign file.
        cells: one for each method, backbone and data set.
        reruns: how each cell's best trials are trained again.
        published_points: whether the published points are tried first.
    """

    name: str
    source: str
    cells: list[CampaignCell]
    reruns: Reruns | None
    published_points: bool

    def trials(self) -> int:
        """The number of trials of all cells, including those that are trained again."""
        return sum(cell.experiment.study.trials for cell in self.cells) + len(self.cells) * self.reruns_of_a_cell()

    def reruns_of_a_cell(self) -> int:
        """How many trials of a cell are trained again, at most."""
        return 0 if self.reruns is None else self.reruns.count

    def again(self, cell: CampaignCell) -> Experiment:
        """The experiment with which the best trials of a cell are trained again, at its published point."""
        if self.reruns is None or not self.reruns.set:
            return cell.experiment
        return cell.experiment.alone(cell.experiment.configure(self.reruns.set))

    def stages(self) -> list[list[CampaignCell]]:
        """The cells in groups, where a cell may only start from a cell of an earlier group."""
        depth: dict[str, int] = {}
        for cell in self.cells:
            depth[cell.name] = 0 if cell.after is None else depth[cell.after] + 1
        return [[cell for cell in self.cells if depth[cell.name] == stage] for stage in range(max(depth.values()) + 1)]

    def hashes(self) -> dict[str, str]:
        """Cell -> hash of everything that determines its numbers: its experiment without the resources."""
        return {
            cell.name: config_hash(cell.experiment.model_copy(update={"resources": ResourcesConfig()}))
            for cell in self.cells
        }


def campaign_in_words(planned: Planned) -> str:
    """The size of a campaign in words: `2 methods x 1 backbone x 1 data set, 60 trials`."""
    axes = [counted(len({getattr(cell, axis) for cell in planned.cells}), what) for axis, what in AXES.items()]
    return f"{' x '.join(axes)}, {counted(planned.trials(), 'trial')}"
