"""`compare`: runs side by side on the split that counts, each number with its interval, and their paired differences from the first run."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator.scores import Stored, read_scores
from orchestrator.summary import Summary, read_summary
from wsol.errors import InputError

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run on one metric, in percent.

    Attributes:
        value: of the metric.
        interval: 95 % interval of the value over images; None where it is not defined.
        difference: points above the first run; None for the first run itself.
        difference_interval: its 95 % interval by the paired bootstrap; None without a difference, or where it is not defined.
        baseline: the centre Gaussian on the same images; None where unknown.
    """

    value: float
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    baseline: float | None

    @property
    def is_different(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.difference_interval is not None and not self.difference_interval[0] <= 0 <= self.difference_interval[1]


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        name: of the run.
        method, backbone, dataset: plugin names; the method with that of its base.
        cells: metric -> number.
    """

    name: str
    method: str
    backbone: str
    dataset: str
    cells: dict[str, Cell]


def compare(folders: Sequence[Path], metrics: Sequence[str], split: str) -> list[Row]:
    """Compare finished runs.

    Args:
        folders: of the runs; the first is what the others are compared with.
        metrics: keys of their metrics, such as `max_box_acc_v2` or `max_box_acc_by_size/small`.
        split: `test` or `train_fullsup`.

    Raises:
        InputError: a run has no such number, or the runs were scored on different images, map sizes or thresholds.
    """
    runs = [(read_summary(folder), read_scores(folder / "best", split)) for folder in folders]
    for run in runs:
        _require_comparable(run, runs[0], split)
    return [
        Row(
            name=summary.folder.resolve().name,
            method=_method(_config(summary, "method")),
            backbone=str(_config(summary, "backbone").get("model") or _config(summary, "backbone").get("name", "")),
            dataset=str(_config(summary, "data").get("name", "")),
            cells={metric: _cell((summary, stored), runs[0], metric, split) for metric in metrics},
        )
        for summary, stored in runs
    ]


def comparison_table(rows: Sequence[Row], metric: str, split: str) -> Table:
    """One metric in the terminal: the gain in points over the first run; `*` marks a difference whose interval leaves out zero."""
    table = Table(box=None, pad_edge=False, title=f"{split}, {metric}", title_justify="left", title_style="bold")
    for title in ("run", "method"):
        table.add_column(title, no_wrap=True)
    for title in ("value", "95 %", "gain", "95 %, paired", "Gauss"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        cell = row.cells[metric]
        gain = "" if cell.difference is None else f"{cell.difference:+.2f}{'*' if cell.is_different else ' '}"
        baseline = "" if cell.baseline is None else f"{cell.baseline:.2f}"
        table.add_row(row.name, row.method, f"{cell.value:.2f}", _range(cell.interval), gain, _range(cell.difference_interval, "+"), baseline)
    return table


def markdown(rows: Sequence[Row]) -> str:
    """A table with one column for each metric, `value (interval)`."""
    head, *body = _wide(rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * 4 + ["---:"] * (len(head) - 4), *body))


def latex(rows: Sequence[Row]) -> str:
    """The same as a `tabular`, with rules of the package booktabs."""
    head, *body = ([_tex(word) for word in line] for line in _wide(rows))
    lines = [" & ".join(line) + r" \\" for line in body]
    begin = [rf"\begin{{tabular}}{{llll{'r' * (len(head) - 4)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join([*begin, *lines, r"\bottomrule", r"\end{tabular}"])


def html_table(rows: Sequence[Row]) -> str:
    """The same as an HTML table."""
    head, *body = ([html.escape(word) for word in line] for line in _wide(rows))
    lines = [f"<tr><th>{'</th><th>'.join(head)}</th></tr>", *(f"<tr><td>{'</td><td>'.join(line)}</td></tr>" for line in body)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def comma_separated(rows: Sequence[Row]) -> str:
    """Everything that is known, one line for each run and metric."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "method", "backbone", "dataset", "metric", "value", "low", "high", "gain", "gain_low", "gain_high", "center_gaussian"])
    for row in rows:
        for metric, cell in row.cells.items():
            bounds, gains = cell.interval or (None, None), cell.difference_interval or (None, None)
            writer.writerow([row.name, row.method, row.backbone, row.dataset, metric, cell.value, *bounds, cell.difference, *gains, cell.baseline])
    return file.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {"markdown": markdown, "latex": latex, "html": html_table, "csv": comma_separated}


def _wide(rows: Sequence[Row]) -> list[list[str]]:
    """Head, runs and the centre Gaussian as words; `*` marks a paired difference from the first run whose interval leaves out zero."""
    metrics = list(rows[0].cells)
    lines = [["run", "method", "backbone", "data", *metrics]]
    for row in rows:
        lines.append([row.name, row.method, row.backbone, row.dataset, *map(_in_words, row.cells.values())])
    baseline = [rows[0].cells[metric].baseline for metric in metrics]
    if any(value is not None for value in baseline):
        lines.append(["centre Gaussian", "", "", rows[0].dataset, *("" if value is None else f"{value:.1f}" for value in baseline)])
    return lines


def _in_words(cell: Cell) -> str:
    interval = f" ({_range(cell.interval, digits=1)})" if cell.interval else ""
    return f"{cell.value:.1f}{interval}{'*' if cell.is_different else ''}"


def _require_comparable(run: tuple[Summary, Stored], first: tuple[Summary, Stored], split: str) -> None:
    for what, own, wanted in zip(("images", "map sizes", "score thresholds"), _basis(*run), _basis(*first), strict=True):
        if own != wanted:
            raise InputError(
                f"{run[0].folder}: was scored on other {what} of {split} than {first[0].folder}; only runs on the same images, at the same size and "
                "thresholds, can be compared"
            )


def _basis(summary: Summary, stored: Stored) -> tuple[Any, ...]:
    return stored.images, _config(summary, "data").get("image_size"), stored.threshold_step


def _cell(run: tuple[Summary, Stored], first: tuple[Summary, Stored], metric: str, split: str) -> Cell:
    from wsol.bootstrap import interval

    summary, stored = run
    values = summary.metrics(split)
    if metric not in values or metric not in stored.replicates:
        raise InputError(f"{summary.folder}: has no {metric!r} on {split}; it has {', '.join(sorted(values)) or 'nothing yet'}")
    is_first = summary.folder == first[0].folder
    return Cell(
        value=values[metric],
        interval=interval(stored.replicates[metric]),
        difference=None if is_first else values[metric] - first[0].metrics(split)[metric],
        difference_interval=None if is_first else interval(stored.replicates[metric] - first[1].replicates[metric]),
        baseline=summary.metrics(split, baseline=True).get(metric),
    )


def _config(summary: Summary, section: str) -> dict[str, Any]:
    config: dict[str, Any] = (summary.result.get("config") or {}).get(section) or {}
    return config


def _method(config: dict[str, Any]) -> str:
    """`crop_cam(bridging_gap)` for a method around another one."""
    base = config.get("base")
    return f"{config.get('name', '')}({_method(base)})" if isinstance(base, dict) else str(config.get("name", ""))


def _range(bounds: Interval | None, sign: str = "", digits: int = 2) -> str:
    return "" if bounds is None else f"{bounds[0]:{sign}.{digits}f} to {bounds[1]:{sign}.{digits}f}"


def _tex(word: str) -> str:
    return word.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&")
