"""`report`: one HTML file about one search, for every state a search can be in. It opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import logging
import math
import os
import re
import shlex
import socket
import threading
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from orchestrator import figures
from orchestrator.figures import Figure, TrialRow
from wsol.errors import InputError

if TYPE_CHECKING:
    import optuna

TEMPLATES = Path(__file__).parent / "templates"
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
SILENT_SECONDS = 900.0
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
NOT_POINTS = ("threshold", "count", "loss", "constant")


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything a run folder says about its search.

    Attributes:
        folder: the run folder.
        state: `running`, `interrupted` or `finished`.
        info: `study.json`; empty where missing.
        objective: name of the objective, such as `train_fullsup/max_box_acc_v2`.
        maximize: whether a higher objective is better.
        trials: by number.
        log_params: search paths with a logarithmic distribution.
        result: `best/result.json`; empty while there is none.
        evaluations: of `test.json`, oldest first.
        examples: of `best/examples.json`.
        experiment: text of `experiment.yaml`.
        updated: last sign of life, in UTC.
        notes: what could not be read, one sentence each.
        study: the Optuna study, for further questions; None where it could not be read.
    """

    folder: Path
    state: str
    info: Mapping[str, Any]
    objective: str
    maximize: bool
    trials: tuple[TrialRow, ...]
    log_params: frozenset[str]
    result: Mapping[str, Any]
    evaluations: tuple[Mapping[str, Any], ...]
    examples: tuple[Mapping[str, Any], ...]
    experiment: str
    updated: datetime
    notes: tuple[str, ...] = ()
    study: optuna.Study | None = None

    @property
    def name(self) -> str:
        """What the search is called: its own name, else the folder's."""
        return str(self.info.get("name") or self.info.get("study_name") or self.folder.resolve().name)

    @property
    def params(self) -> list[str]:
        """All search paths that a trial has tried, in order of appearance."""
        return list(dict.fromkeys(path for trial in self.trials for path in trial.params))

    @property
    def best(self) -> TrialRow | None:
        """The winner; before it is chosen, the best complete trial; None without one."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        chosen = [trial for trial in self.trials if trial.number == self.result.get("trial")]
        sign = 1 if self.maximize else -1
        return next(iter(chosen), max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None))

    @property
    def value(self) -> float | None:
        """The winner's objective: after the post-hoc choice where there was one."""
        value = _number(self.result.get("value"))
        return value if value is not None or self.best is None else self.best.value

    @property
    def test(self) -> Mapping[str, Any]:
        """The first evaluation of the winner's checkpoint on test, the one that nothing was chosen by; empty without one."""
        checkpoint = self.result.get("checkpoint_sha256")
        return next((entry for entry in self.evaluations if checkpoint and entry.get("checkpoint_sha256") == checkpoint), {})

    @property
    def seconds(self) -> float | None:
        """Wall time from the start to the end, or to the last sign of life; None where the start is unknown."""
        start = _time(self.info.get("started"))
        return None if start is None else max(((_time(self.info.get("ended")) or self.updated) - start).total_seconds(), 0.0)

    def metrics(self, split: str, baseline: bool = False) -> dict[str, float]:
        """Metric -> value of the winner, or of the centre-Gaussian baseline, on `train_fullsup` or `test`; names without the split."""
        if baseline:
            source = (self.result.get("baseline") or {}).get(split)
        elif split == "test":
            source = self.test.get("metrics")
        else:
            source = self.result.get(split) or (self.best.metrics if self.best else {})
        mixed = any(key.startswith(f"{split}/") for key in source or {})
        kept = {key.removeprefix(f"{split}/"): _number(value) for key, value in (source or {}).items() if not mixed or key.startswith(f"{split}/")}
        return {key: value for key, value in kept.items() if value is not None}


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
    draft = folder / f".report.{os.getpid()}.html"
    try:
        draft.write_text(_render(read_summary(folder)), encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def read_summary(folder: Path) -> Summary:
    """Gather what a run folder says. Reads only, also while the search is writing.

    Raises:
        InputError: the folder holds neither `study.json` nor `study.journal`.
    """
    journal, notes = folder / "study.journal", list[str]()
    if not journal.is_file() and not (folder / "study.json").is_file():
        raise InputError(f"{folder}: no search here: neither study.json nor study.journal exists. Give the folder of one run, such as runs/NAME.")
    info = _read_json(folder / "study.json", dict, notes)
    study = _load_study(journal, str(info.get("study_name", "")), notes)
    frozen = [] if study is None else study.get_trials(deepcopy=False)
    maximize = study is None or study.direction.name != "MINIMIZE"
    updated = datetime.fromtimestamp(max(file.stat().st_mtime for file in (journal, folder / "study.json") if file.is_file()), UTC)
    rows = [_row(trial, maximize) for trial in frozen]
    state = _state(folder, info, rows, updated)
    return Summary(
        folder=folder,
        state=state,
        info=info,
        objective=str(info.get("objective") or "objective"),
        maximize=maximize,
        trials=tuple(row if state == "running" or row.state != "running" else replace(row, state="interrupted") for row in rows),
        log_params=frozenset(path for trial in frozen for path, space in trial.distributions.items() if getattr(space, "log", False)),
        result=_read_json(folder / "best" / "result.json", dict, notes),
        evaluations=tuple(_read_json(folder / "test.json", dict, notes).get("evaluations", ())),
        examples=tuple(_read_json(folder / "best" / "examples.json", list, notes)),
        experiment=_read_text(folder / "experiment.yaml"),
        updated=updated,
        notes=tuple(notes),
        study=study,
    )


def importance(study: optuna.Study | None) -> dict[str, float]:
    """Search path -> share of the objective's variation among good trials (PED-ANOVA), largest first, summing to 1.

    Empty with fewer than four complete trials, when it cannot be computed, or when it takes longer than ten seconds.
    """
    found: dict[str, float] = {}

    def compute(study: optuna.Study) -> None:
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        try:
            found.update(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))
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


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_json(path: Path, kind: type, notes: list[str]) -> Any:
    """The content, or an empty `kind` where the file is missing or not what it should be; the latter is noted."""
    if not path.is_file():
        return kind()
    try:
        content = json.loads(_read_text(path))
    except ValueError as error:
        content = error
    if isinstance(content, kind):
        return content
    notes.append(f"{path.name} could not be read and is left out.")
    return kind()


def _load_study(journal: Path, name: str, notes: list[str]) -> optuna.Study | None:
    """Open the study without writing to it; any study of the file will do where the name is not known."""
    if not journal.is_file():
        return None
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = JournalStorage(JournalFileBackend(str(journal)))
            names = [study.study_name for study in storage.get_all_studies()]
            return optuna.load_study(study_name=name if name in names else names[0], storage=storage) if names else None
    except Exception as error:  # a damaged journal raises whatever its damage happens to trip
        notes.append(f"study.journal could not be read: {error}. Trials are left out.")
        return None


def _row(trial: optuna.trial.FrozenTrial, maximize: bool) -> TrialRow:
    attributes = trial.user_attrs
    state = STATES[trial.state.name]
    curve = {epoch: value for epoch, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)}
    reached = (max if maximize else min)(curve.values(), default=None)
    value = _number(trial.values[0]) if trial.values and state == "complete" else reached
    metrics = {key: number for key, value in (attributes.get("metrics") or {}).items() if (number := _number(value)) is not None}
    return TrialRow(
        number=trial.number,
        state=state,
        value=None if state == "failed" else value,
        params=dict(trial.params),
        curve=curve,
        metrics=metrics,
        best_epoch=attributes.get("best_epoch"),
        epochs=attributes.get("epochs"),
        seconds=_number(attributes.get("seconds")),
        failure=str(attributes.get("failure") or ("no reason was recorded" if state == "failed" else "")),
        started=_time(attributes.get("started")) or _time(trial.datetime_start),
        ended=_time(attributes.get("ended")) or _time(trial.datetime_complete),
        worker=str(attributes.get("worker") or ""),
    )


def _state(folder: Path, info: Mapping[str, Any], rows: Sequence[TrialRow], updated: datetime) -> str:
    """Ended; else as the study's lock says, where it can be asked; else running until it has been silent for long."""
    if info.get("ended"):
        return "finished"
    held = _held(folder)
    epoch = max((row.seconds / row.epochs for row in rows if row.seconds and row.epochs), default=0.0)
    silence = (datetime.now(UTC) - updated).total_seconds()
    alive = silence < max(SILENT_SECONDS, 3 * epoch) if held is None else held
    return "running" if alive else "interrupted"


def _held(folder: Path) -> bool | None:
    """Whether a process of this machine has the study open; None where the lock is another machine's or cannot be tried."""
    lock = folder / "study.lock"
    if not lock.is_file() or not _read_text(folder / "study.owner").startswith(f"{socket.gethostname()}, "):
        return None
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return None


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _time(value: Any) -> datetime | None:
    """A time in UTC from ISO text; times without a zone are this machine's."""
    try:
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)
    except (TypeError, ValueError):
        return None


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
        figures.timeline(trials, datetime.now(UTC) if summary.state == "running" else summary.updated),
        figures.parallel(trials, order, summary.log_params, objective),
        *figures.slices(trials, order, summary.log_params, winner, objective),
    ]
    return [figure for figure in drawn if figure is not None]


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric of one split; `difference` is in points, None where there is nothing to subtract."""

    key: str
    value: float
    baseline: float | None
    difference: float | None

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
    values, baseline = summary.metrics(name), summary.metrics(name, baseline=True)
    keys = sorted(values, key=lambda key: ("threshold" in key, not key.startswith(metric), key.count("/") > 0, key))
    first = {_metric(key): key for key in reversed(keys)}  # top1 and top1/loc are one number
    lines = [_line(key, values[key], baseline.get(key)) for key in keys if first[_metric(key)] == key]
    return Split(name, lines, next((line for line in lines if line.key == metric), None))


def _line(key: str, value: float, baseline: float | None) -> MetricLine:
    in_points = not any(word in key for word in NOT_POINTS)
    return MetricLine(key, value, baseline, value - baseline if in_points and baseline is not None else None)


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
    moment = _time(value)
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def _metric(key: str) -> str:
    """`train_fullsup/max_box_acc_v2/iou_50` -> `MaxBoxAccV2, IoU 50 %`; words it does not know stay as they are."""
    first, _, rest = key.partition("/")
    name = rest if first in SPLITS and rest else key
    parts = [METRIC_NAMES.get(part) or re.sub(r"^(iou|threshold)_(\d+)$", _level, part) for part in name.split("/")]
    return METRIC_NAMES.get(name) or ", ".join(parts)


def _level(match: re.Match[str]) -> str:
    level = f"IoU\u00a0{match[2]}\u00a0%"
    return level if match[1] == "iou" else f"best threshold at {level}"


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
