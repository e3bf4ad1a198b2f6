"""`compare`: runs side by side on the split that counts, each with its interval, and their paired differences from the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from orchestrator.scores import Stored, read_scores
from orchestrator.summary import Summary, read_summary
from wsol.errors import InputError


@dataclass(frozen=True, slots=True)
class Compared:
    """One run on one metric of one split, in percent.

    Attributes:
        name: of the run.
        method: its plugin name, with that of its base.
        value: of the metric.
        interval: 95 % interval of the value over images; None where it is not defined.
        difference: points above the first run; None for the first run itself.
        difference_interval: its 95 % interval by the paired bootstrap; None without a difference, or where it is not defined.
        baseline: the centre Gaussian on the same images; None where unknown.
    """

    name: str
    method: str
    value: float
    interval: tuple[float, float] | None
    difference: float | None
    difference_interval: tuple[float, float] | None
    baseline: float | None

    @property
    def is_different(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.difference_interval is not None and not self.difference_interval[0] <= 0 <= self.difference_interval[1]


def compare(folders: Sequence[Path], metric: str, split: str) -> list[Compared]:
    """Compare finished runs.

    Args:
        folders: of the runs; the first is what the others are compared with.
        metric: a key of their metrics, such as `max_box_acc_v2` or `max_box_acc_by_size/small`.
        split: `test` or `train_fullsup`.

    Raises:
        InputError: a run has no such number, or the runs were scored on different images.
    """
    stored = [read_scores(folder / "best", split) for folder in folders]
    for folder, other in zip(folders, stored, strict=True):
        if other.images != stored[0].images:
            raise InputError(f"{folder}: was scored on other images of {split} than {folders[0]}; only runs on the same images can be compared")
    return [
        _compared(read_summary(folder), own, read_summary(folders[0]), stored[0], metric, split) for folder, own in zip(folders, stored, strict=True)
    ]


def comparison_table(rows: Sequence[Compared], metric: str, split: str) -> Table:
    """The rows as text, the gain in points over the first run; `*` marks a difference whose interval leaves out zero."""
    table = Table(box=None, pad_edge=False, title=f"{split}, {metric}", title_justify="left", title_style="bold")
    for title in ("run", "method"):
        table.add_column(title, no_wrap=True)
    for title in ("value", "95 %", "gain", "95 %, paired", "Gauss"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        gain = "" if row.difference is None else f"{row.difference:+.2f}{'*' if row.is_different else ' '}"
        baseline = "" if row.baseline is None else f"{row.baseline:.2f}"
        table.add_row(row.name, row.method, f"{row.value:.2f}", _range(row.interval), gain, _range(row.difference_interval, "+"), baseline)
    return table


def _compared(summary: Summary, own: Stored, first: Summary, reference: Stored, metric: str, split: str) -> Compared:
    from wsol.bootstrap import interval

    values, config = summary.metrics(split), summary.result.get("config") or {}
    if metric not in values or metric not in own.replicates:
        raise InputError(f"{summary.folder}: has no {metric!r} on {split}; it has {', '.join(sorted(values)) or 'nothing yet'}")
    is_first = summary.folder == first.folder
    return Compared(
        name=summary.folder.resolve().name,
        method=_method(config.get("method") or {}),
        value=values[metric],
        interval=interval(own.replicates[metric]),
        difference=None if is_first else values[metric] - first.metrics(split)[metric],
        difference_interval=None if is_first else interval(own.replicates[metric] - reference.replicates[metric]),
        baseline=summary.metrics(split, baseline=True).get(metric),
    )


def _method(config: dict[str, object]) -> str:
    """`crop_cam(bridging_gap)` for a method around another one."""
    base = config.get("base")
    return f"{config.get('name', '')}({_method(base)})" if isinstance(base, dict) else str(config.get("name", ""))


def _range(bounds: tuple[float, float] | None, sign: str = "") -> str:
    return "" if bounds is None else f"{bounds[0]:{sign}.2f} to {bounds[1]:{sign}.2f}"
