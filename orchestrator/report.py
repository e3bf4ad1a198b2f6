"""`report`: one HTML file about one search, for every state a search can be in. It opens from disk and asks the network
for nothing."""

from __future__ import annotations

import base64
import functools
import gzip
import importlib
import logging
import math
import shlex
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from orchestrator import figures, figures_space, figures_winner, formats, report_winner
from orchestrator.figures import Figure
from orchestrator.summary import Summary, read_summary
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    import optuna

TEMPLATES = Path(__file__).parent / "templates"
IMPORTANCE_MIN_TRIALS = 4
IMPORTANCE_SECONDS = 10.0
PICTURE_BYTES = 3_500_000
TABS = {"hits": "Hits", "misses": "Misses", "small": "Small objects", "disagreements": "Largest disagreements"}


def write_report(folder: Path, beside: Sequence[Path] = ()) -> Path:
    """Write `report.html` into a run folder, in one step: whoever reads meanwhile sees the old page or the new one.

    Args:
        folder: of a running, interrupted or finished search, also a copy of one.
        beside: run folders of other searches for the same objective, drawn into the figure of the best value by epochs
            trained.

    Returns:
        The path of the page.

    Raises:
        InputError: a folder holds no search, or one for another objective.
        OSError: the page cannot be written.
    """
    path = folder / "report.html"
    summary, others = read_summary(folder), [read_summary(other) for other in beside]
    for other in others:
        if other.objective != summary.objective:
            raise InputError(
                f"{other.folder}: searched for {other.objective}, {folder} for {summary.objective}; only one objective"
                " can be compared"
            )
    write_text(path, _render(summary, others))
    return path


def importance(study: optuna.Study | None) -> dict[str, float]:
    """Search path -> share of the objective's variation among good trials (PED-ANOVA), largest first, summing to 1.

    Empty with fewer than four complete trials, when it cannot be computed, or when it takes longer than ten seconds.
    """
    found: dict[str, float] = {}

    def compute(study: optuna.Study) -> None:
        sign = -1 if study.directions[0].name == "MAXIMIZE" else 1  # the evaluator asks what makes a target low
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                evaluator = importances.PedAnovaImportanceEvaluator()
                found.update(
                    importances.get_param_importances(
                        study, evaluator=evaluator, target=lambda trial: sign * trial.values[0]
                    )
                )
        except Exception as error:  # a report without bars is better than none
            logging.getLogger(__name__).debug("no parameter importance: %s", error)

    if (
        study is None
        or sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) < IMPORTANCE_MIN_TRIALS
    ):
        return {}
    importances = _optuna_importance()  # loading it does not count
    worker = threading.Thread(target=compute, args=(study,), daemon=True)
    worker.start()
    worker.join(IMPORTANCE_SECONDS)
    return {} if worker.is_alive() else {path: share for path, share in found.items() if math.isfinite(share)}


def _optuna_importance() -> ModuleType:
    """`optuna.importance` without scikit-learn, which takes longer than the whole report, and which only other
    evaluators need: whoever wants those in the same process still gets the whole of it."""
    import optuna

    if "sklearn" in sys.modules or "optuna.importance" in sys.modules:
        return importlib.import_module("optuna.importance")
    former = vars(optuna)["importance"]
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("optuna.importance")
    finally:
        vars(optuna)["importance"] = former
        for name in ["sklearn", *(name for name in sys.modules if name.startswith("optuna.importance"))]:
            sys.modules.pop(name, None)


def _render(summary: Summary, others: Sequence[Summary]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    words = {
        "score": formats.score,
        "plain": formats.plain,
        "duration": formats.duration,
        "clock": formats.clock,
        "metric": formats.metric,
    }
    environment.filters.update(words, yaml=formats.as_yaml, first_line=formats.first_line)
    shares = importance(summary.study)
    order = [
        *(path for path in shares if path in summary.params),
        *(path for path in summary.params if path not in shares),
    ]
    drawn = _figures(summary, others, order)
    examples = _pictures(summary)
    reasons = Counter(formats.first_line(trial.failure) for trial in summary.trials if trial.state == "failed")
    columns, settings = report_winner.setting_rows(summary)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        counts=Counter(trial.state for trial in summary.trials),
        failures=reasons.most_common(3),
        splits=[
            split
            for split in (report_winner.split_lines(summary, name) for name in ("train_fullsup", "test"))
            if split.lines
        ],
        stability=report_winner.stability(summary),
        setting_columns=columns,
        settings=settings,
        shares=shares,
        names=figures.short_names(summary.params),
        slices=[figure for figure in drawn if figure.key.startswith("slice-")],
        fronts=[figure for figure in drawn if figure.key.startswith("front-")],
        figures={figure.key: figure for figure in drawn},
        specs={figure.key: figure.spec for figure in drawn},
        plotly=_plotly() if drawn else "",
        examples=examples,
        tabs=[
            (tab, title) for tab, title in TABS.items() if any(tab in example.get("tabs", ()) for example in examples)
        ],
        hosts=sorted({trial.worker.rpartition(":")[0] for trial in summary.trials} - {"", "unknown"}),
        seeds=_seeds(summary),
        used=_used(summary),
        commands=_commands(summary),
        now=datetime.now(UTC),
    )


def _figures(summary: Summary, others: Sequence[Summary], order: Sequence[str]) -> list[Figure]:
    trials, objective, winner = (
        summary.trials,
        formats.metric(summary.objective),
        summary.best.number if summary.best else None,
    )
    names = [formats.metric(name) for name in summary.objectives]
    of_many = [
        figures.history(trials, objective, summary.maximize),
        figures.effort([_search(of) for of in (summary, *others)], objective, summary.maximize),
        figures.timeline(trials, datetime.now(UTC) if summary.state == "running" else summary.updated),
    ]
    drawn = [
        *(of_many if not summary.is_single else ()),
        figures.curves(trials, winner, objective, str(summary.info.get("scheduler") or "")),
        *figures_space.fronts(trials, summary.objectives, names),
        figures_winner.thresholds(
            report_winner.threshold_curves(summary), lambda curve: formats.metric(curve).rpartition(", ")[2]
        ),
        figures_winner.sizes(*report_winner.size_bars(summary)),
        figures_winner.precision_recall(report_winner.pixel_curves(summary)),
        figures_space.parallel(trials, order, summary.log_params, objective),
        figures_space.contour(summary.study, order, objective),
        *figures_space.slices(trials, order, summary.log_params, winner, objective),
    ]
    return [figure for figure in drawn if figure is not None]


def _search(summary: Summary) -> figures.Search:
    scheduler = str(summary.info.get("scheduler") or "none")
    way = str(summary.info.get("sampler") or "") + (f" + {scheduler}" if scheduler != "none" else "")
    return figures.Search(summary.folder.resolve().name, way, summary.trials)


def _pictures(summary: Summary) -> list[dict[str, Any]]:
    """The examples with their pictures inside, as many as fit; one whose files are missing is left out."""
    home, left, shown = (summary.folder / "best").resolve(), PICTURE_BYTES, []
    for example in summary.examples:
        columns = [example, *(example.get("others") or ())]
        files = [
            (home / str(name)).resolve() for name in (example.get("photo"), *(column.get("map") for column in columns))
        ]
        if not all(file.is_file() and file.is_relative_to(home) for file in files):
            continue
        left -= sum(file.stat().st_size for file in files)
        if left < 0:
            break
        photo, *maps = (f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}" for file in files)
        views = [{**column, "map": picture} for column, picture in zip(columns, maps, strict=True)]
        shown.append({**example, "photo": photo, "views": views})
    return shown


def _seeds(summary: Summary) -> list[int]:
    """The seeds that trials trained with: of the experiment, unless it was searched."""
    tried = sorted({int(trial.params["seed"]) for trial in summary.trials if "seed" in trial.params})
    own = (summary.result.get("config") or {}).get("seed")
    return tried or ([] if own is None else [int(own)])


def _used(summary: Summary) -> float | None:
    """Which share of the time of all places trials ran: the rest is starting, waiting, and measuring the winner. None
    where it is not known."""
    trained = sum(trial.seconds or 0.0 for trial in summary.trials)
    offered = (summary.seconds or 0.0) * int(summary.info.get("concurrent_trials") or 1)
    return trained / offered if 0 < trained <= offered else None


@functools.cache
def _plotly() -> str:
    """Plotly's script, compressed: a third of its size in the page, which unpacks it itself."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode()


def _commands(summary: Summary) -> list[tuple[str, str]]:
    """Shell commands with what they do, for the state the search is in."""
    home = summary.folder.resolve()
    run, commit = shlex.quote(f"{home.parent.name}/{home.name}"), (summary.info.get("git") or {}).get("commit")
    steps = [("python launch.py resume " + run, "continue it")] if summary.state == "interrupted" else []
    if commit:
        steps.append((f"git checkout {commit}", "the code that ran"))
        if (home / "code.diff").is_file():
            steps.append((f"git apply {run}/code.diff", "with what was changed since that commit"))
    if summary.info.get("command"):
        steps.append((str(summary.info["command"]), "the training" if summary.is_single else "the whole search"))
    if (home / "best.yaml").is_file() and not summary.is_single:
        steps.append((f"python launch.py train {run}/best.yaml", "only the winner"))
    return (
        [*steps, (f"python launch.py evaluate {run}", "score the winner's checkpoint again")]
        if summary.result
        else steps
    )
