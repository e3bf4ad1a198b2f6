"""Tables of metrics for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from orchestrator.formats import printed_columns, settings_in_words
from orchestrator.runs.result import ScoredSetting


def score_table(
    title: str,
    metrics: Mapping[str, float],
    baseline: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]] | None = None,
) -> Table:
    """Metrics of one split as rows, with their 95 % intervals and the centre Gaussian of the same images."""
    table = Table(box=None, pad_edge=False)
    table.add_column("metric")
    table.add_column(title, justify="right")
    if intervals:
        table.add_column("95 %", justify="right", style="dim")
    if baseline:
        table.add_column("centre Gauss", justify="right", style="dim")
    for name, value in metrics.items():
        if "threshold" in name or "/size_" in name or "/fixed_size_" in name or "/images_" in name:
            continue  # details; they are in the JSON files
        row = [name, f"{value:.3f}"]
        if intervals:
            row.append("{:.2f} to {:.2f}".format(*intervals[name]) if name in intervals else "")
        if baseline:
            row.append(f"{baseline[name]:.3f}" if name in baseline else "")
        table.add_row(*row)
    return table


def settings_table(title: str, settings: Sequence[ScoredSetting], objective: str) -> Table:
    """Post-hoc settings as rows, the best first, with the objective and what papers
    print."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("setting")
    shown = printed_columns(objective, settings[0].metrics)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for setting in sorted(settings, key=lambda setting: -setting.metrics[objective]):
        table.add_row(settings_in_words(setting.values), *(f"{setting.metrics[name]:.2f}" for name in shown))
    return table
