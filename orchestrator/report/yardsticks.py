"""What boxes give on the same test images: the runs beside a run whose method was trained on them, such as `few_shot`.
The report shows them beside the centre Gaussian: a method without boxes should pass both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.runs import names
from orchestrator.runs.result import read_result
from orchestrator.runs.scores import read_scores
from orchestrator.runs.summary import Summary, read_summary
from wsol.errors import InputError


@dataclass(frozen=True, slots=True)
class Yardstick:
    """A tested run that was trained on boxes.

    Attributes:
        name: of its folder.
        training_note: on which images.
        value: of the metric that the other run was selected by, in percent on test.
        interval: its 95 % interval over images; None where it is not known.
    """

    name: str
    training_note: str
    value: float
    interval: tuple[float, float] | None


def yardsticks(summary: Summary) -> list[Yardstick]:
    """The runs in the folder where this one lies, with the same backbone, that were trained on boxes and tested on the
    same images; none while this one was not tested."""
    found: list[Yardstick] = []
    home = summary.folder.resolve()
    if not summary.metrics("test"):
        return found
    for folder in sorted(path.parent.parent for path in home.parent.glob(f"*/{names.WINNER_RESULT}")):
        try:
            yardstick = None if folder == home else _yardstick(folder, summary)
        except InputError:  # a run that cannot be read is for its own report to tell
            continue
        found += [yardstick] if yardstick else []
    return found


def _yardstick(folder: Path, summary: Summary) -> Yardstick | None:
    result = read_result(folder)
    if not result.uses_boxes:
        return None
    other = read_summary(folder)
    value = other.metrics("test").get(summary.metric)
    if value is None or _basis(other) != _basis(summary):
        return None
    return Yardstick(folder.name, result.training_note, value, other.intervals("test").get(summary.metric))


def _basis(summary: Summary) -> tuple[object, ...]:
    """What must be equal for two numbers on test to be comparable."""
    config = summary.result.get("config") or {}
    stored = read_scores(summary.folder / names.WINNER, "test")
    backbone, data = config.get("backbone") or {}, config.get("data") or {}
    return backbone.get("name"), backbone.get("model"), data.get("image_size"), stored.images, stored.threshold_step
