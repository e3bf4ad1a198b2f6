"""`status`: the progress of a search, when it will end, what waits and why. It only reads the run folder, from any
terminal."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator.experiment.yaml_reader import parse_yaml
from orchestrator.formats import duration, plain_text, settings_in_words, short_reason
from orchestrator.runs import names
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.summary import Summary, TrialRow, read_summary
from wsol.checkpoint import MANIFEST
from wsol.errors import InputError, counted, first_line

ENDED = ("complete", "pruned", "failed")


KNOWN = (*ENDED, "running", "interrupted", "waiting")


RECENT = 5
"""Number of ended trials in the table; the report shows all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The settings of each trial in `experiment.yaml`, with defaults.

    Attributes:
        epochs: how many epochs it trains; None where that is not known.
        workers: how many workers it takes.
        cpus: CPU cores of each worker.
        gpus: GPUs of each worker.
        again: how many trainings with other seeds follow the search.
    """

    epochs: int | None = None
    workers: float = 1
    cpus: float = 1
    gpus: float = 0
    again: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The progress of a run.

    Attributes:
        summary: the content of the run folder.
        epochs: how many epochs a trial trains; None where that is not known.
        epoch_seconds: median duration of the measured epochs; None before the first.
        left: seconds to the end at this pace; None if it is not running or nothing was measured. It gets shorter when
            trials are stopped early.
        again: the trainings with other seeds that have begun, and how many there will be; 0: none was asked for.
        waiting: why trials that are left do not run yet, one sentence each.
        failures: reason -> trials that failed for it and are not tried again.
        notes: what could not be read, one sentence each.
    """

    summary: Summary
    epochs: int | None
    epoch_seconds: float | None
    left: float | None
    again: tuple[list[TrialRow], int]
    waiting: list[str]
    failures: dict[str, list[int]]
    notes: list[str]

    @property
    def state(self) -> str:
        """See `state_word`."""
        return state_word(self.summary, self.notes)


def state_word(summary: Summary, notes: Sequence[str]) -> str:
    """The state of a run; `damaged` if it has ended and not all of it can be read."""
    return "damaged" if notes and summary.state == "finished" else summary.state


def read_status(folder: Path) -> Status:
    """Read the progress of a run.

    Raises:
        InputError: the folder holds no search.
    """
    summary = read_summary(folder)
    notes = list(summary.notes)
    asked = _read_asked(summary, notes)
    seconds = [second for trial in summary.trials for second in _epoch_seconds(folder, trial, notes)]
    again = [trial for run in read_reruns(folder) for trial in run.trials] if asked.again else []
    pace = statistics.median(seconds) if seconds else None
    left = None
    if asked.epochs and pace and summary.state == "running":
        left = _epochs_left(summary, asked.epochs, again, asked.again) * pace / _at_once(summary)
    waiting = [] if notes and summary.state == "finished" else list(_waiting(summary, asked, again))
    return Status(summary, asked.epochs, pace, left, (again, asked.again), waiting, _failures(summary), notes)


def read_reruns(folder: Path) -> list[Summary]:
    """The runs in which the best trials of a search were trained again with other seeds, as far as they have begun."""
    return [read_summary(header.parent) for header in sorted(folder.glob(names.HEADERS_OF_SEEDS))]


def _failures(summary: Summary) -> dict[str, list[int]]:
    failures: dict[str, list[int]] = {}
    put_back = {trial.retry_of for trial in summary.trials}
    for trial in summary.trials:
        if trial.state == "failed" and trial.number not in put_back:
            failures.setdefault(short_reason(trial.failure), []).append(trial.number)
    return failures


def status_lines(status: Status) -> Iterator[Table | str]:
    """The lines that a terminal shows."""
    summary = status.summary
    counts = _counts(summary.trials) or "no trial yet"
    yield f"{summary.folder}: {status.state}; {counts}, of {summary.header.trials or '?'}"
    yield from (f"note: {note}" for note in status.notes)
    if summary.best and summary.best.value is not None:
        chosen = summary.best.setting
        words = "" if chosen is None else f", post-hoc setting of that epoch: {settings_in_words(chosen)}"
        yield f"best so far: trial {summary.best.number}, {summary.objective} {summary.best.value:.2f}{words}"
    if status.epoch_seconds is not None:
        pace = f"an epoch takes {duration(status.epoch_seconds)}"
        most = "at most " if (summary.header.scheduler or "none") != "none" else ""
        yield (
            f"{pace}; ETA {most}{duration(status.left)}, then the winner is measured"
            if status.left is not None
            else pace
        )
    if status.again[1]:
        yield _again_in_words(*status.again)
    if shown := _shown_trials(summary):
        yield _table(shown, status.epochs)
    if left_out := len(summary.trials) - len(shown):
        yield f"{counted(left_out, 'trial')} that ended earlier not shown; {names.TRIALS_TABLE} has all"
    yield from (f"waits: {reason}" for reason in status.waiting)
    for reason, numbers in status.failures.items():
        yield f"failed: trial {', '.join(map(str, numbers))}: {reason}"
    if status.failures:
        yield f"        try again: python launch.py retry {summary.folder}"


def _again_in_words(begun: list[TrialRow], planned: int) -> str:
    return f"with other seeds: {_counts(begun) or 'none begun'}, of {planned}"


def _counts(trials: Iterable[TrialRow]) -> str:
    """`3 complete, 1 failed`; empty where there are none."""
    states = [trial.state for trial in trials]
    return ", ".join(f"{states.count(state)} {state}" for state in KNOWN if state in states)


def _shown_trials(summary: Summary) -> list[TrialRow]:
    """All trials that have not ended, and the newest of the others."""
    ended = [trial for trial in summary.trials if trial.state in ENDED]
    return [*(trial for trial in summary.trials if trial.state not in ENDED), *ended[-RECENT:]]


def _table(trials: list[TrialRow], epochs: int | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("trial", "state", "epoch", "best", "time", "on"):
        table.add_column(
            title, justify="right" if title in ("trial", "epoch", "best", "time") else "left", no_wrap=True
        )
    for trial in sorted(trials, key=lambda trial: trial.number):
        done = max(trial.curve, default=trial.epochs or 0)
        running = (
            (datetime.now(UTC) - trial.started).total_seconds()
            if trial.state == "running" and trial.started
            else trial.seconds
        )
        value = "" if trial.value is None else f"{trial.value:.2f}"
        cells = [f"{done}/{epochs or '?'}", value, "" if running is None else duration(running), trial.worker]
        table.add_row(str(trial.number), trial.state, *cells)
    return table


def _read_asked(summary: Summary, notes: list[str]) -> Asked:
    """Read the settings in `experiment.yaml`; a damaged file is noted."""
    if not summary.experiment:
        return Asked()
    try:
        values = parse_yaml(summary.experiment, names.EXPERIMENT).values
    except InputError as error:
        notes.append(f"{first_line(error)}; the file is left out.")
        return Asked()
    epochs, resources = _number(values, "trial", "training", "epochs"), partial(_number, values, "resources")
    return Asked(
        epochs=None if epochs is None else int(epochs),
        workers=resources("workers") or 1,
        cpus=resources("cpus_per_worker") or 1,
        gpus=resources("gpus_per_worker") or 0,
        again=_again(values),
    )


def _again(values: Any) -> int:
    """How many trainings with other seeds an experiment asks for."""
    top, trials = _number(values, "study", "confirm", "top"), _number(values, "study", "trials")
    seeds = values["study"]["confirm"].get("seeds") if top else None
    return int(min(top or 0, trials or 0)) * (len(seeds) if isinstance(seeds, list) else 0)


def _number(values: Any, *path: str) -> float | None:
    """The number at a path of nested mappings; None where there is none."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, int | float) and not isinstance(values, bool) else None


def _epoch_seconds(folder: Path, trial: TrialRow, notes: list[str]) -> list[float]:
    """The duration of each epoch recorded in a trial's folder, in seconds; without records, the mean over the trial. A
    damaged manifest is noted."""
    manifest, measured = trial_folder(folder, trial.number) / MANIFEST, list[float]()
    if manifest.is_file():
        try:
            measured = [float(record["seconds"]) for record in json.loads(manifest.read_text())["history"]]
        except (OSError, ValueError, KeyError, TypeError):
            notes.append(f"{manifest.relative_to(folder)} could not be read and is left out.")
    return measured or ([trial.seconds / trial.epochs] if trial.seconds and trial.epochs else [])


def _epochs_left(summary: Summary, epochs: int, begun: list[TrialRow], again: int) -> int:
    """Number of epochs left for running and coming trials if none is stopped, with those that are trained again."""
    running = [trial for trial in (*summary.trials, *begun) if trial.state == "running"]
    to_come = _to_come(summary) + max(again - sum(trial.state != "waiting" for trial in begun), 0)
    return sum(max(epochs - max(trial.curve, default=0), 0) for trial in running) + epochs * to_come


def _to_come(summary: Summary) -> int:
    """Number of trials not yet started. Failed ones that are tried again count as new trials."""
    started = sum(trial.state != "waiting" for trial in summary.trials)
    return max((summary.header.trials or 0) - started, sum(trial.state == "waiting" for trial in summary.trials))


def _at_once(summary: Summary) -> int:
    """How many trials run at the same time."""
    return max(summary.header.concurrent_trials or 1, 1)


def _waiting(summary: Summary, asked: Asked, again: list[TrialRow]) -> Iterator[str]:
    to_come, run = _to_come(summary), f"python launch.py resume {summary.folder}"
    interrupted = sum(trial.state == "interrupted" for trial in summary.trials)
    if summary.state == "interrupted":
        if interrupted:
            yield f"{counted(interrupted, 'trial')} interrupted, each continues from its last checkpoint with: {run}"
        if to_come:
            yield f"{counted(to_come, 'trial')} not started; nothing runs: {run}"
        if (left := asked.again - sum(trial.state in ENDED for trial in again)) > 0:
            yield f"{counted(left, 'training')} with other seeds; nothing runs: {run}"
    elif summary.state == "running" and to_come:
        running, machine = sum(trial.state == "running" for trial in summary.trials), summary.header.machine or {}
        gpus = f" and {asked.gpus:g} GPU(s)" if asked.gpus else ""
        needs = f"{asked.workers:g} worker(s) with {asked.cpus:g} CPU(s){gpus} each"
        if running < _at_once(summary):
            yield (
                f"{counted(to_come, 'trial')}: {running} of {_at_once(summary)} places are taken, the next one is about"
                " to start"
            )
        else:
            has = f"{plain_text(machine.get('cpus', '?'))} CPUs and {plain_text(machine.get('gpus', '?'))} GPUs"
            yield (
                f"{counted(to_come, 'trial')} for a free place: {_at_once(summary)} at a time, a trial takes {needs},"
                f" there are {has}"
            )
    elif summary.state == "finished" and to_come and summary.header.enough:
        yield f"{counted(to_come, 'trial')} not needed: {plain_text(summary.header.enough)}"
        yield f"to continue nevertheless: {run} study.hours=... or study.stop=null"
    elif summary.state == "finished" and to_come:
        yield (
            f"{counted(to_come, 'trial')} never started: the study's hours were spent, or too many failed; go on with:"
            f" {run}"
        )
