"""Formats a comparison: a table for each metric in the terminal, one table for all metrics in Markdown, LaTeX, HTML and
CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from rich.table import Table

from orchestrator.comparison.cell import Cell, Interval
from orchestrator.comparison.rows import Row
from orchestrator.formats import csv_cell, html_text, latex_text, markdown_text, one_line


def comparison_table(rows: Sequence[Row], metric: str, split: str) -> Table:
    """One metric, in 80 columns or more: a line of numbers for each row; below it the method, the interval over seeds,
    and whether the published number was reproduced. Names are folded where the terminal is too narrow for them. Empty
    columns are left out."""
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=f"{split}, {metric}",
        title_justify="left",
        title_style="bold",
    )
    cells = [row.cells[metric] for row in rows]
    has_seeds, has_published = any(len(cell.of_seeds) > 1 for cell in cells), any(cell.published for cell in cells)
    table.add_column("run\n method", overflow="fold")
    table.add_column("value\nseeds" if has_seeds else "value", justify="right", no_wrap=True)
    table.add_column("95 %, images\nseeds" if has_seeds else "95 %, images", justify="right", no_wrap=True)
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("95 %, paired", justify="right", no_wrap=True)
    if has_published:
        table.add_column("published\nreproduced", justify="right", no_wrap=True)
    for row, cell in zip(rows, cells, strict=True):
        seeds = f"\n{len(row.seeds)} seeds" if len(cell.of_seeds) > 1 else ""
        gain = "" if cell.difference is None else f"{cell.difference:+.2f}{'*' if cell.is_different else ' '}"
        intervals = f"{_range(cell.interval)}\n{seeds_in_words(cell)}"
        paper = [f"{cell.published.value:.2f}\n{_mark(cell)}" if cell.published else ""] if has_published else []
        table.add_row(
            f"{one_line(row.name)}\n {one_line(_what_it_is(row, rows))}",
            f"{cell.value:.2f}{seeds}",
            intervals,
            gain,
            _range(cell.difference_interval, "+"),
            *paper,
        )
    if cells[0].baseline is not None:
        table.add_row("centre Gaussian", f"{cells[0].baseline:.2f}")
    return table


def legend(rows: Sequence[Row]) -> list[str]:
    """The legend of a table: the meaning of its words and marks, one sentence each, and the sources of published
    numbers."""
    cells = [cell for row in rows for cell in row.cells.values()]
    lines = [
        "95 %: interval over images, by the bootstrap; *: the paired interval of the gain over the first row leaves"
        " out 0"
    ]
    if any(len(cell.of_seeds) > 1 for cell in cells):
        lines.append(
            "seeds: the mean of runs that differ in their seed only, and its 95 % interval over seeds (Student's t); of"
            " two seeds, both values"
        )
    if any(row.uses_boxes for row in rows):
        lines.append("boxes: trained on boxes or masks of train_fullsup, and not on class labels of train_weaksup")
    if any(row.imported for row in rows):
        lines.append("stock, imported: not trained here, so without seeds; of a stock network no paper has a number")
    if any(cell.published for cell in cells):
        lines.append(
            "published: what a paper has; reproduced (yes): it lies inside one of our 95 % intervals, or below them"
        )
    sources = dict.fromkeys(cell.published.source for cell in cells if cell.published)
    return [*lines, *(f"source: {source}" for source in sources)]


def markdown(rows: Sequence[Row]) -> str:
    """A table with one column for each metric, `value (interval)`, and its legend."""
    head, *body = _wide(rows, markdown_text)
    names = len(_names(rows))
    lines = [f"| {' | '.join(line)} |" for line in (head, ["---"] * names + ["---:"] * (len(head) - names), *body)]
    return "\n".join([*lines, "", *(f"{markdown_text(line)}  " for line in legend(rows))])


def latex(rows: Sequence[Row]) -> str:
    """The same table as a `tabular` with rules of the package booktabs; the legend is written as comments."""
    head, *body = _wide(rows, latex_text)
    names = len(_names(rows))
    lines = [" & ".join(line) + r" \\" for line in body]
    begin = [
        *(f"% {one_line(line)}" for line in legend(rows)),
        rf"\begin{{tabular}}{{{'l' * names}{'r' * (len(head) - names)}}}",
    ]
    return "\n".join(
        [*begin, r"\toprule", " & ".join(head) + r" \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
    )


def html_table(rows: Sequence[Row]) -> str:
    """The same table in HTML, with the legend as a paragraph."""
    head, *body = _wide(rows, html_text)
    lines = [
        f"<tr><th>{'</th><th>'.join(head)}</th></tr>",
        *(f"<tr><td>{'</td><td>'.join(line)}</td></tr>" for line in body),
    ]
    return "<table>\n" + "\n".join(lines) + "\n</table>\n<p>" + "<br>\n".join(map(html_text, legend(rows))) + "</p>"


COLUMNS = (
    *("run", "method", "backbone", "dataset", "metric", "value", "low", "high", "gain", "gain_low", "gain_high"),
    *("center_gaussian", "seeds", "seeds_low", "seeds_high", "published", "reproduced", "source"),
    *("of_seeds", "differs", "boxes", "imported"),
)


def comma_separated(rows: Sequence[Row]) -> str:
    """All numbers as CSV, one line for each row and metric."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    nothing = (None, None)
    for row in rows:
        for metric, cell in row.cells.items():
            cells = [row.name, row.method, row.backbone, row.dataset, metric, cell.value, *(cell.interval or nothing)]
            cells += [cell.difference, *(cell.difference_interval or nothing), cell.baseline]
            cells += [" ".join(map(str, row.seeds)), *(cell.seed_interval or nothing)]
            cells += [cell.published.value, _mark(cell), cell.published.source] if cell.published else [None] * 3
            cells += [" ".join(map(str, cell.of_seeds)), ", ".join(row.differs), "yes" if row.uses_boxes else "no"]
            cells += [row.imported]
            writer.writerow(csv_cell(one_line(value) if isinstance(value, str) else value) for value in cells)
    return file.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {
    "markdown": markdown,
    "latex": latex,
    "html": html_table,
    "csv": comma_separated,
}


def _wide(rows: Sequence[Row], written: Callable[[str], str]) -> list[list[str]]:
    """Head, rows and the centre Gaussian in words, with names formatted by `written`. A metric with published numbers
    gets a column of them, with `yes` where they were reproduced."""
    metrics = list(rows[0].cells)
    printed = [metric for metric in metrics if any(row.cells[metric].published for row in rows)]

    def beside(numbers: Sequence[str], papers: Sequence[str]) -> list[str]:
        pairs = zip(metrics, numbers, papers, strict=True)
        return [word for metric, *pair in pairs for word in pair[: 1 + (metric in printed)]]

    lines = [[*_names(rows), *beside(list(map(written, metrics)), ["published"] * len(metrics))]]
    for row in rows:
        cells = [row.cells[metric] for metric in metrics]
        words = beside([_in_words(cell) for cell in cells], [_paper(cell) for cell in cells])
        names = _names(rows, row)
        lines.append([*map(written, names), *words])
    baseline = [rows[0].cells[metric].baseline for metric in metrics]
    if any(value is not None for value in baseline):
        words = beside(["" if value is None else f"{value:.1f}" for value in baseline], [""] * len(metrics))
        empty = [""] * (len(_names(rows)) - 4)
        lines.append(["centre Gaussian", "", "", written(rows[0].dataset), *empty, *words])
    return lines


def _names(rows: Sequence[Row], row: Row | None = None) -> list[str]:
    """The columns that say what a row is, or of a row what stands there; in what rows differ only where they do."""
    own = ["run", "method", "backbone", "data"] if row is None else [row.name, row.label, row.backbone, row.dataset]
    differs = "differs in" if row is None else ", ".join(row.differs)
    return [*own, differs] if any(one.differs for one in rows) else own


def _what_it_is(row: Row, rows: Sequence[Row]) -> str:
    """The method of a row, and how it differs from other rows."""
    backbone = [row.backbone] if len({one.backbone for one in rows}) > 1 else []
    return ", ".join([row.label, *backbone, *row.differs])


def seeds_in_words(cell: Cell, digits: int = 2) -> str:
    """The interval over seeds; with two seeds, their values; with one, nothing."""
    if cell.seed_interval is not None:
        return _range(cell.seed_interval, digits=digits)
    return ", ".join(f"{value:.{digits}f}" for value in cell.of_seeds) if len(cell.of_seeds) > 1 else ""


def _in_words(cell: Cell) -> str:
    words = [_range(cell.interval, digits=1)] if cell.interval else []
    words += [f"{len(cell.of_seeds)} seeds: {seeds_in_words(cell, 1)}"] if len(cell.of_seeds) > 1 else []
    brackets = f" ({'; '.join(words)})" if words else ""
    return f"{cell.value:.1f}{brackets}{'*' if cell.is_different else ''}"


def _paper(cell: Cell) -> str:
    return f"{cell.published.value:.1f} ({_mark(cell)})" if cell.published else ""


def _mark(cell: Cell) -> str:
    return "yes" if cell.is_reproduced else "no"


def _range(bounds: Interval | None, sign: str = "", digits: int = 2) -> str:
    return "" if bounds is None else f"{bounds[0]:{sign}.{digits}f} to {bounds[1]:{sign}.{digits}f}"
