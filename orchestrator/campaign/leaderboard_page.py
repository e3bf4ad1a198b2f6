"""`leaderboard.html`: one figure for each data set and backbone, the same images through every method, then tables. One
file in the style of the report, without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.comparison.rows import Row
from orchestrator.comparison.tables import FORMATS, seeds_in_words
from orchestrator.pictures.examples import Example
from orchestrator.report.html import embedded, template
from orchestrator.report.lists import read_examples
from orchestrator.runs import names
from orchestrator.runs.summary import read_summary
from wsol.files import is_file

PICTURES = 6
"""Number of images that show every method."""

TICKS = 5
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Group:
    """The methods with one backbone on one data set.

    Attributes:
        dataset, backbone, metric: their names.
        rows: the rows of `compare` for the tested methods, or the reason why they cannot be compared.
        runs: method -> its tested run, or the first of several seeds.
    """

    dataset: str
    backbone: str
    metric: str
    rows: list[Row] | str
    runs: dict[str, Path]


@dataclass(frozen=True, slots=True)
class Board:
    """The content of a leaderboard.

    Attributes:
        name: the campaign's name.
        about: sentences before the tables.
        failures: the cells that will have no number, each with the reason.
        overviews: data set -> lines of cells, methods x backbones, the heads first.
        groups: its groups, in the order of the campaign.
    """

    name: str
    about: list[str]
    failures: list[str]
    overviews: dict[str, list[list[str]]]
    groups: list[Group]


@dataclass(frozen=True, slots=True)
class Mark:
    """A method in the figure; positions are percent of the axis.

    Attributes:
        name: the method's name.
        text: its value, with the values of its seeds or their interval.
        dot: position of the value.
        low, high: positions of the ends of its 95 % interval over images; both at the value if it has none.
        seeds: positions of the values of several seeds.
    """

    name: str
    text: str
    dot: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """Dots and whiskers, the best method first.

    Attributes:
        marks: one for each method.
        ticks: position -> number on the axis.
        baseline: position of the centre Gaussian; None where unknown.
        yardsticks: positions of the methods that were trained on boxes.
    """

    marks: list[Mark]
    ticks: dict[float, str]
    baseline: float | None
    yardsticks: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """The same images as every method sees them.

    Attributes:
        photos: for each image, the data URL of the photo with its ground truth, and what it shows.
        maps: method -> for each image, the score map and the IoU.
    """

    photos: list[tuple[str, str]]
    maps: dict[str, list[tuple[str, float]]]


def leaderboard_page(board: Board) -> str:
    """The page as HTML."""
    parts = [
        (group, _figure(group), _seen(group), FORMATS["html"](group.rows))
        for group in board.groups
        if not isinstance(group.rows, str)
    ]
    refused = [(group, group.rows) for group in board.groups if isinstance(group.rows, str)]
    return template("leaderboard.html.j2").render(board=board, parts=parts, refused=refused, now=datetime.now(UTC))


def _figure(group: Group) -> Figure:
    assert not isinstance(group.rows, str)
    methods = {folder.name: method for method, folder in group.runs.items()}
    named = [(methods.get(row.name, row.name) + (" (boxes)" if row.uses_boxes else ""), row) for row in group.rows]
    cells = [(name, row.cells[group.metric]) for name, row in named]
    baseline = cells[0][1].baseline
    numbers = [number for _, cell in cells for number in (cell.value, *(cell.interval or ()), *cell.of_seeds)]
    low, high, step = _axis([*numbers, *([] if baseline is None else [baseline])])

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    marks = [
        Mark(
            name,
            f"{cell.value:.1f}" + (f" ({seeds})" if (seeds := seeds_in_words(cell, 1)) else ""),
            dot=place(cell.value),
            low=place(cell.interval[0] if cell.interval else cell.value),
            high=place(cell.interval[1] if cell.interval else cell.value),
            seeds=tuple(map(place, cell.of_seeds)) if len(cell.of_seeds) > 1 else (),
        )
        for name, cell in sorted(cells, key=lambda entry: -entry[1].value)
    ]
    count = round((high - low) / step)
    ticks = {place(low + number * step): f"{low + number * step:g}" for number in range(count + 1)}
    yardsticks = tuple(place(row.cells[group.metric].value) for row in group.rows if row.uses_boxes)
    return Figure(marks, ticks, None if baseline is None else place(baseline), yardsticks)


def _axis(numbers: Sequence[float]) -> tuple[float, float, float]:
    """The ends of an axis for some numbers, and the step of its ticks."""
    smallest, largest = min(numbers), max(numbers)
    step = next((step for step in STEPS if (largest - smallest) / step <= TICKS), (largest - smallest) / TICKS)
    low, high = math.floor(smallest / step) * step, math.ceil(largest / step) * step
    return low, high if high > low else low + step, step


def _seen(group: Group) -> Seen | None:
    """The images that all methods have pictures of, from the smallest object to the largest; None if there are none.
    Methods that were trained on boxes are left out: they have pictures only of the few images that selected them."""
    shown_runs = {method: folder for method, folder in group.runs.items() if not read_summary(folder).uses_boxes}
    examples = {method: _examples(folder) for method, folder in shown_runs.items()}
    examples = {method: known for method, known in examples.items() if known}
    if not examples:
        return None
    first, *others = examples.values()
    shared = [image for image in first if all(image in other for other in others)]
    ranked = sorted(shared, key=lambda image: ("sizes" not in first[image].tabs, first[image].size or 0.0))[:PICTURES]
    shown = sorted(ranked, key=lambda image: first[image].size or 0.0)
    if not shown:
        return None
    home = {method: group.runs[method] / names.WINNER for method in examples}
    leader = next(iter(examples))
    return Seen(
        [(embedded(home[leader] / first[image].photo), first[image].class_name) for image in shown],
        {
            method: [(embedded(home[method] / known[image].map), known[image].iou) for image in shown]
            for method, known in examples.items()
        },
    )


def _examples(folder: Path) -> dict[str, Example]:
    """Image -> its pictures in a run folder, as far as their files exist."""
    home = (folder / names.WINNER).resolve()

    def is_there(name: str) -> bool:
        return is_file(home / name) and (home / name).resolve().is_relative_to(home)

    listed = read_examples(read_summary(folder), [])
    return {example.image_id: example for example in listed if is_there(example.photo) and is_there(example.map)}
