"""`report`: one HTML file about one search, for every state a search can be in. It opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import functools
import gzip
import logging
import math
import re
import shlex
import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from orchestrator import figures
from orchestrator.figures import Figure
from orchestrator.scores import read_scores
from orchestrator.summary import Summary, parse_time, read_summary
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    import optuna

TEMPLATES = Path(__file__).parent / "templates"
IMPORTANCE_MIN_TRIALS = 4
IMPORTANCE_SECONDS = 10.0
PICTURE_BYTES = 3_500_000
SPLITS = ("train_weaksup", "train_fullsup", "test")
METRIC_NAMES = {
    "max_box_acc_v2": "MaxBoxAccV2",
    "max_box_acc": "MaxBoxAcc",
    "top1": "Top-1 Loc",
    "top1/loc": "Top-1 Loc",
    "top5/loc": "Top-5 Loc",
    "gt_known/loc": "GT-known Loc",
    "top1/cls": "Top-1 classification",
    "top5/cls": "Top-5 classification",
    "px_ap": "PxAP",
    "pxap": "PxAP",
    "piou": "pIoU",
}
FIXED = "threshold of train_fullsup"
NOT_POINTS = ("threshold", "count", "loss", "constant", "degenerate")


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder, in one step: whoever reads meanwhile sees the old page or the new one.

    Args:
        folder: of a running, interrupted or finished search, also a copy of one.

    Returns:
        The path of the page.

    Raises:
        InputError: the folder holds no search.
        OSError: the page cannot be written.
    """
    path = folder / "report.html"
    write_text(path, _render(read_summary(folder)))
    return path


def importance(study: optuna.Study | None) -> dict[str, float]:
    """Search path -> share of the objective's variation among good trials (PED-ANOVA), largest first, summing to 1.

    Empty with fewer than four complete trials, when it cannot be computed, or when it takes longer than ten seconds.
    """
    found: dict[str, float] = {}

    def compute(study: optuna.Study) -> None:
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        try:
            found.update(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), target=lambda trial: trial.values[0]))
        except Exception as error:  # a report without bars is better than none
            logging.getLogger(__name__).debug("no parameter importance: %s", error)

    if study is None or sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) < IMPORTANCE_MIN_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        worker = threading.Thread(target=compute, args=(study,), daemon=True)
        worker.start()
        worker.join(IMPORTANCE_SECONDS)
    return {} if worker.is_alive() else {path: share for path, share in found.items() if math.isfinite(share)}


def _render(summary: Summary) -> str:
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(score=_score, plain=_plain, duration=_duration, clock=_clock, metric=_metric, yaml=_yaml)
    shares = importance(summary.study)
    order = [*(path for path in shares if path in summary.params), *(path for path in summary.params if path not in shares)]
    drawn = _figures(summary, order)
    examples = _pictures(summary)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        counts=Counter(trial.state for trial in summary.trials),
        failures=Counter(trial.failure for trial in summary.trials if trial.state == "failed").most_common(3),
        splits=[split for split in (_split(summary, "train_fullsup"), _split(summary, "test")) if split.lines],
        shares=shares,
        names=figures.short_names(summary.params),
        slices=[figure for figure in drawn if figure.key.startswith("slice-")],
        figures={figure.key: figure for figure in drawn},
        specs={figure.key: figure.spec for figure in drawn},
        plotly=_plotly() if drawn else "",
        examples=examples,
        commands=_commands(summary),
        now=datetime.now(UTC),
    )


def _figures(summary: Summary, order: Sequence[str]) -> list[Figure]:
    trials, objective, winner = summary.trials, _metric(summary.objective), summary.best.number if summary.best else None
    drawn = [
        figures.history(trials, objective, summary.maximize),
        figures.curves(trials, winner, objective),
        figures.thresholds(_threshold_curves(summary), _metric),
        figures.timeline(trials, datetime.now(UTC) if summary.state == "running" else summary.updated),
        figures.parallel(trials, order, summary.log_params, objective),
        *figures.slices(trials, order, summary.log_params, winner, objective),
    ]
    return [figure for figure in drawn if figure is not None]


def _threshold_curves(summary: Summary) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Split -> curve of the objective's metric -> thresholds and percent, a hundred points each."""
    found = {}
    for split in ("train_fullsup", "test"):
        try:
            stored = read_scores(summary.folder / "best", split)
        except InputError:  # not scored yet
            continue
        every = max(1, round(0.01 / stored.threshold_step))
        found[split] = {
            name: ((np.arange(0, len(curve), every) * stored.threshold_step).round(4).tolist(), curve[::every].round(3).tolist())
            for name, curve in stored.curves.items()
            if name.startswith(summary.objective.partition("/")[2])
        }
    return found


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric of one split; `difference` is in points, None where there is nothing to subtract; `interval`: 95 %, over images."""

    key: str
    value: float
    baseline: float | None
    difference: float | None
    interval: tuple[float, float] | None = None

    @property
    def is_threshold(self) -> bool:
        """Whether it says where the map was cut rather than how good the result is."""
        return "threshold" in self.key


@dataclass(frozen=True, slots=True)
class Split:
    """What is known about the winner on one split; `main` is the objective's line."""

    name: str
    lines: list[MetricLine]
    main: MetricLine | None


def _split(summary: Summary, name: str) -> Split:
    metric = summary.objective.partition("/")[2]
    values, baseline, intervals = summary.metrics(name), summary.metrics(name, baseline=True), summary.intervals(name)
    keys = sorted(values, key=lambda key: ("threshold" in key, not key.startswith(metric), key.count("/") > 0, key))
    first = {_metric(key): key for key in reversed(keys)}  # top1 and top1/loc are one number
    lines = [_line(key, values[key], baseline.get(key), intervals.get(key)) for key in keys if first[_metric(key)] == key]
    return Split(name, lines, next((line for line in lines if line.key == metric), None))


def _line(key: str, value: float, baseline: float | None, interval: tuple[float, float] | None) -> MetricLine:
    in_points = not any(word in key for word in NOT_POINTS)
    return MetricLine(key, value, baseline, value - baseline if in_points and baseline is not None else None, interval if in_points else None)


def _pictures(summary: Summary) -> list[dict[str, Any]]:
    """The examples with their pictures inside, as many as fit; one whose files are missing is left out."""
    home, left, shown = (summary.folder / "best").resolve(), PICTURE_BYTES, []
    for example in summary.examples:
        files = [(home / str(example.get(key))).resolve() for key in ("photo", "map")]
        if not all(file.is_file() and file.is_relative_to(home) for file in files):
            continue
        left -= sum(file.stat().st_size for file in files)
        if left < 0:
            break
        photo, score_map = (f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}" for file in files)
        shown.append({**example, "photo": photo, "map": score_map})
    return shown


@functools.cache
def _plotly() -> str:
    """Plotly's script, compressed: a third of its size in the page, which unpacks it itself."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode()


def _commands(summary: Summary) -> list[tuple[str, str]]:
    """Shell commands with what they do, for the state the search is in."""
    home = summary.folder.resolve()
    run, commit = shlex.quote(f"{home.parent.name}/{home.name}"), (summary.info.get("git") or {}).get("commit")
    steps = [("python launch.py resume " + run, "continue this search")] if summary.state == "interrupted" else []
    if commit:
        steps.append((f"git checkout {commit}", "the code that ran"))
    if summary.info.get("command"):
        steps.append((str(summary.info["command"]), "the whole search"))
    if (home / "best.yaml").is_file():
        steps.append((f"python launch.py train {run}/best.yaml", "only the winner"))
    return [*steps, (f"python launch.py evaluate {run}", "score the winner's checkpoint again")] if summary.result else steps


def _score(value: float | None, signed: bool = False) -> str:
    """Two decimals, as the field prints them; a true minus sign, and a dash for nothing."""
    return "–" if value is None else f"{value:{'+' if signed else ''}.2f}".replace("-", "−")


def _plain(value: Any) -> str:
    """A parameter's value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float | None) -> str:
    """`8.4 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    largest = next(place for place, (_, size) in enumerate(units) if seconds >= size)
    (big, size), (small, rest) = units[largest : largest + 2]
    return f"{seconds // size:.0f} {big} {seconds % size // rest:.0f} {small}"


def _clock(value: Any) -> str:
    """A moment to the minute."""
    moment = parse_time(value)
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def _metric(key: str) -> str:
    """`train_fullsup/max_box_acc_v2/iou_50` -> `MaxBoxAccV2, IoU 50 %`; words it does not know stay as they are."""
    first, _, rest = key.partition("/")
    name = rest if first in SPLITS and rest else key
    name, fixed = re.subn(r"_fixed$|/fixed$|(?<=/)fixed_", "", name)
    parts = [METRIC_NAMES.get(part) or re.sub(r"^(iou|threshold)_(\d+)$", _level, part) for part in name.split("/")]
    return (METRIC_NAMES.get(name) or ", ".join(parts)) + (f", {FIXED}" if fixed else "")


def _level(match: re.Match[str]) -> str:
    level = f"IoU\u00a0{match[2]}\u00a0%"
    return level if match[1] == "iou" else f"best threshold at {level}"


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
