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

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator

from orchestrator import checks
from orchestrator.experiment import Experiment, Loaded, ResourcesConfig, config_hash, load_experiment
from orchestrator.figures import counted
from orchestrator.overrides import COMMAND_LINE, SECTIONS
from orchestrator.yaml_reader import Document, KeyPath, parse_scalar, read_yaml
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.plugins import did_you_mean
from wsol.schema import Strict

FILE = "campaign.json"
"""Makes a folder a campaign."""

AXES = {"method": "method", "backbone": "backbone", "dataset": "data set"}

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


def _distinct(values: list[Any]) -> list[Any]:
    if len({*values}) < len(values):
        raise ValueError("should differ from each other")
    return values


class Change(Strict):
    """What is changed in a search-space file.

    Attributes:
        variant: one of the file's.
        set: dotted path -> value, as `KEY=VALUE` on the command line; a searched value is fixed and no longer searched.
    """

    variant: str | None = None
    set: dict[str, Any] = {}


class MethodChange(Change):
    """A method of a campaign.

    Attributes:
        file: its search-space file, relative to the campaign file; `{dataset}` stands for the name of the data set.
        after: a method above this one: its winner, with the same backbone and data set, is where this one's trials
            start (`initial_run`).
    """

    file: str
    after: str | None = None


class Reruns(Strict):
    """The best trials of a search, trained again.

    Attributes:
        top: so many of each cell.
        seeds: that each is trained with. The search itself used `trial.seed` and chose by it, so others are more
            honest.
        set: dotted path -> value, changed in the trials, such as a data set's short list of training images: null.
    """

    top: int = Field(default=1, ge=1)
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(_distinct)] = Field(
        default=[1, 2, 3], min_length=1, max_length=20
    )
    set: dict[str, Any] = {}


class Campaign(Strict):
    """A campaign file. The defaults are the published protocol (Choe et al., CVPR 2020): 30 random draws for everybody,
    the last epoch counts, the winner on train_fullsup is tested once.

    Attributes:
        methods: name -> search-space file.
        backbones: name -> what it changes there.
        datasets: names of the data sets.
        trials: of each cell.
        sampler: see `StudyConfig`.
        seed: of the sampler.
        published_points: try the published settings of the files first; they count as trials.
        checkpoint: see `TrainingConfig`.
        reruns: after its search, the best trials of a cell are trained again with several seeds, the highest mean on
            train_fullsup wins, and each of the winner's seeds is tested; null: the search's own winner is.
        set: dotted path -> value, changed in every cell; what no other key names on the command line stands here too.
        resources: of each trial of every cell, those of the files do not count.
    """

    methods: dict[Name, MethodChange] = Field(min_length=1)
    backbones: dict[Name, Change] = Field(min_length=1)
    datasets: Annotated[list[Name], AfterValidator(_distinct)] = Field(min_length=1)
    trials: int = Field(default=30, ge=1)
    sampler: Literal["random", "tpe", "gp", "cma_es", "qmc"] = "random"
    seed: int = Field(default=0, ge=0)
    published_points: bool = False
    checkpoint: Literal["best", "last"] = "last"
    reruns: Reruns | None = None
    set: dict[str, Any] = {}
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
class CampaignCell:
    """One search of a campaign.

    Attributes:
        name: of its folder.
        method, backbone, dataset: names in the campaign file.
        after: the cell whose winner it starts from; None for most.
        loaded: its checked experiment.
    """

    name: str
    method: str
    backbone: str
    dataset: str
    after: str | None
    loaded: Loaded

    @property
    def experiment(self) -> Experiment:
        """What is searched."""
        return self.loaded.experiment


@dataclass(frozen=True, slots=True)
class Planned:
    """A checked campaign: its cells, those that others start from first.

    Attributes:
        name: of the file.
        source: the file.
        cells: one for each method, backbone and data set.
        reruns: of each cell's best trials.
        published_points: whether they are tried first.
    """

    name: str
    source: str
    cells: list[CampaignCell]
    reruns: Reruns | None
    published_points: bool

    def trials(self) -> int:
        """Of all cells, with those that are trained again."""
        return sum(cell.experiment.study.trials for cell in self.cells) + len(self.cells) * self.reruns_of_a_cell()

    def reruns_of_a_cell(self) -> int:
        """How many there are at most."""
        return 0 if self.reruns is None else self.reruns.top * len(self.reruns.seeds)

    def stages(self) -> list[list[CampaignCell]]:
        """The cells in groups; a cell starts from one of an earlier group, or from none."""
        depth: dict[str, int] = {}
        for cell in self.cells:
            depth[cell.name] = 0 if cell.after is None else depth[cell.after] + 1
        return [[cell for cell in self.cells if depth[cell.name] == stage] for stage in range(max(depth.values()) + 1)]

    def identity(self) -> dict[str, Any]:
        """What must be equal for two campaigns to be one: everything but the resources."""
        alike = {
            cell.name: config_hash(cell.experiment.model_copy(update={"resources": ResourcesConfig()}))
            for cell in self.cells
        }
        return {
            "hashes": alike,
            "reruns": self.reruns and self.reruns.model_dump(),
            "published_points": self.published_points,
        }


def is_campaign(path: Path) -> bool:
    """Whether a file is a campaign, and no search space.

    Raises:
        InputError: it cannot be read.
    """
    return "methods" in read_yaml(path).values


def is_campaign_folder(folder: Path) -> bool:
    """Whether a folder holds a campaign, and no run."""
    return (folder / FILE).exists()


def load_campaign(path: Path, overrides: list[str], folder: Path) -> Planned:
    """Read, override and check a file and the search spaces that it names.

    Args:
        path: a campaign file.
        overrides: `KEY=VALUE`; what names no key of a campaign is meant in `set`, in every cell.
        folder: where the cells' runs will be: some start from the winner of another.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    document = read_yaml(path)
    for override in overrides:
        _apply(document, override)
    try:
        campaign = Campaign.model_validate(document.values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(document, dict(e)) for e in error.errors(include_url=False))) from None
    cells: list[CampaignCell] = []
    wrong: list[str] = []
    for dataset, backbone, method in (
        (d, b, m) for d in campaign.datasets for b in campaign.backbones for m in campaign.methods
    ):
        try:
            cells.append(_cell(document, campaign, (method, backbone, dataset), folder))
        except InputError as error:
            wrong += str(error).splitlines()
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return Planned(path.stem, str(path), cells, campaign.reruns, campaign.published_points)


def described(planned: Planned) -> str:
    """What it is, in words."""
    axes = [counted(len({getattr(cell, axis) for cell in planned.cells}), what) for axis, what in AXES.items()]
    return f"{' x '.join(axes)}, {counted(planned.trials(), 'trial')}"


def _cell(document: Document, campaign: Campaign, names: tuple[str, str, str], folder: Path) -> CampaignCell:
    method, backbone, dataset = names
    chosen, base = campaign.methods[method], campaign.methods[method].after
    after = None if base is None else _name(campaign, base, backbone, dataset)
    changes = list(_changes(campaign, method, backbone, None if after is None else str(folder / after)))
    variants = [change.variant for change in (chosen, campaign.backbones[backbone]) if change.variant is not None]
    place: KeyPath = ("methods", method)
    if len(variants) > 1:
        raise InputError(
            checks.at(
                document,
                place,
                f"its variant {variants[0]} and {variants[1]} of backbone {backbone} exclude each other",
            )
        )
    words = [f"variant={variant}" for variant in variants] + [f"{key}={json.dumps(value)}" for key, value, _ in changes]
    try:
        loaded = load_experiment(Path(document.file).parent / chosen.file.replace("{dataset}", dataset), words)
    except InputError as error:
        raise InputError(
            "\n".join(_where(document, line, changes, place) for line in str(error).splitlines())
        ) from None
    if campaign.reruns is not None:
        _require_possible(document, loaded.experiment, campaign.reruns)
    return CampaignCell(_name(campaign, method, backbone, dataset), method, backbone, dataset, after, loaded)


def _name(campaign: Campaign, method: str, backbone: str, dataset: str) -> str:
    return "-".join([*([dataset] if len(campaign.datasets) > 1 else []), method, backbone])


def _changes(campaign: Campaign, method: str, backbone: str, start: str | None) -> Iterator[tuple[str, Any, KeyPath]]:
    """Key, value, and where it stands; later ones win."""
    yield from (("study." + key, getattr(campaign, key), (key,)) for key in ("trials", "sampler", "seed"))
    yield "study.hours", None, ()  # of one search alone; here they share the machines
    yield "training.checkpoint", campaign.checkpoint, ("checkpoint",)
    yield from (
        (f"resources.{key}", value, ("resources", key)) for key, value in campaign.resources.model_dump().items()
    )
    for path, change in (
        (("methods", method), campaign.methods[method]),
        (("backbones", backbone), campaign.backbones[backbone]),
    ):
        yield from ((key, value, (*path, "set", key)) for key, value in change.set.items())
    if start is not None:
        yield "initial_run", start, ("methods", method, "after")
    yield from ((key, value, ("set", key)) for key, value in campaign.set.items())


def _where(document: Document, line: str, changes: list[tuple[str, Any, KeyPath]], place: KeyPath) -> str:
    """A mistake that a change made, at the change; any other, at the method, after which its own place follows."""
    if not line.startswith(f"{COMMAND_LINE}: "):
        return checks.at(document, place, line)
    text = line.removeprefix(f"{COMMAND_LINE}: ")
    named = [path for key, _, path in changes if text.removeprefix("trial.").startswith(key)]
    return f"{document.place(named[-1] if named else place)}: {text}"


def _require_possible(document: Document, experiment: Experiment, reruns: Reruns) -> None:
    try:
        experiment.configure(reruns.set)
    except KeyError as error:
        raise InputError(checks.at(document, ("reruns", "set"), str(error.args[0]))) from None
    except ValueError as error:
        message = (
            checks.describe(dict(error.errors(include_url=False)[0]), list)
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise InputError(checks.at(document, ("reruns", "set"), message)) from None


def _apply(document: Document, override: str) -> None:
    """Put one `KEY=VALUE` into the document."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"{COMMAND_LINE}: {override!r}: expected KEY=VALUE, such as trials=4 or training.epochs=2")
    head, own, of_cells = key.split(".")[0], list(Campaign.model_fields), [*SECTIONS, *TrainConfig.model_fields]
    if head not in (*own, *of_cells):
        close = did_you_mean(head, [*own, *of_cells])
        raise InputError(
            f"{COMMAND_LINE}: {key}: unknown key{close}; a campaign has {', '.join(own)}, and its cells"
            f" {', '.join(of_cells)}"
        )
    *outer, last = key.split(".") if head in own else ("set", key)
    values, path = document.values, tuple[str | int, ...]()
    for part in outer:
        path = (*path, part)
        if not isinstance(values.get(part), dict):
            values[part], document.places[path] = {}, COMMAND_LINE
        values = values[part]
    values[last], document.places[(*path, last)] = parse_scalar(text), COMMAND_LINE


def _explain(document: Document, error: dict[str, Any]) -> str:
    path: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
    return checks.at(document, path, checks.describe(error, lambda: _allowed_keys(path[:-1])))


def _allowed_keys(path: KeyPath) -> list[str]:
    models: dict[str | int, type[BaseModel]] = {
        "methods": MethodChange,
        "backbones": Change,
        "reruns": Reruns,
        "resources": ResourcesConfig,
    }
    return list((models[path[0]] if path else Campaign).model_fields)
