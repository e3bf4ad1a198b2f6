"""Reads what a run folder says about its search, whatever state the search is in, also while it is writing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.paths import Values
from orchestrator.formats import parse_time
from orchestrator.runs import names
from orchestrator.runs.header import RunHeader
from orchestrator.runs.lock import is_held
from orchestrator.runs.looks import FINISHED
from orchestrator.runs.tolerant import entries_of_tests, header_or_default, json_or_empty, study_or_none, text_or_empty
from wsol.errors import InputError

if TYPE_CHECKING:
    import optuna


STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


SILENT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial, as every figure and table sees it.

    Attributes:
        number: the trial's number in the study, from 0.
        state: `complete`, `pruned`, `failed`, `running`, `interrupted` (was running when the search ended) or
            `waiting`.
        value: the objective, finite; a pruned or running trial has the best one it reported; None where nothing was
            reported.
        values: all objectives of a complete trial, in order; empty for other trials.
        params: search path -> value that was tried.
        curve: epoch -> objective after that epoch, in order of the epochs, finite values only.
        metrics: name -> value at the best epoch.
        setting: the post-hoc values that a complete trial chose for that epoch; None where trials choose none.
        best_epoch, epochs: the epoch of `value`, and how many ran; None where unknown.
        seconds: wall time; None where unknown.
        failure: why it failed, in full; empty for others.
        retry_of: the failed trial that it tries again.
        started, ended: times in UTC; None where unknown.
        worker: the process that ran it; empty where unknown.
    """

    number: int
    state: str
    value: float | None = None
    values: tuple[float, ...] = ()
    params: Values = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    setting: Values | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    failure: str = ""
    retry_of: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything a run folder says about its search.

    Attributes:
        folder: the run folder.
        state: `running`, `interrupted` or `finished`.
        header: `study.json`; with defaults where missing.
        objective: name of the objective, such as `train_fullsup/max_box_acc_v2`; of several, the one that chooses.
        maximize: whether a higher objective is better.
        trials: all trials, ordered by number.
        log_params: search paths with a logarithmic distribution.
        result: `best/result.json`; empty while there is none.
        evaluations: the entries of `test.json`, oldest first.
        examples: the entries of `best/examples.json`.
        experiment: text of `experiment.yaml`.
        updated: last sign of life, in UTC.
        notes: what could not be read, one sentence each.
        study: the Optuna study, for further questions; None where it could not be read.
    """

    folder: Path
    state: str
    header: RunHeader
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
        """The name of the search, else the name of its folder."""
        return str(self.header.name or self.header.study_name or self.folder.resolve().name)

    @property
    def is_single(self) -> bool:
        """Whether the run is a single training or an imported model, not a search."""
        return self.header.kind in ("train", "import")

    @property
    def metric(self) -> str:
        """The metric of the objective, without its split."""
        return self.objective.partition("/")[2]

    @property
    def objectives(self) -> list[str]:
        """All objectives, the one that chooses first."""
        return list(self.header.objectives) or [self.objective]

    @property
    def params(self) -> list[str]:
        """All search paths that a trial has tried, in order of appearance."""
        return list(dict.fromkeys(path for trial in self.trials for path in trial.params))

    @property
    def best(self) -> TrialRow | None:
        """The winner; before it is chosen, the best complete trial; None if there is none."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        chosen = [trial for trial in self.trials if trial.number == self.result.get("trial")]
        sign = 1 if self.maximize else -1
        return next(iter(chosen), max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None))

    @property
    def value(self) -> float | None:
        """The winner's objective, as its trial reported it."""
        value = _number(self.result.get("value"))
        return value if value is not None or self.best is None else self.best.value

    @property
    def test(self) -> Mapping[str, Any]:
        """The first evaluation of the winner's checkpoint on test, before anything could be chosen by it; empty if
        there is none."""
        checkpoint = self.result.get("checkpoint_sha256")
        return next((entry for entry in self.evaluations if checkpoint and _is_final(entry, checkpoint)), {})

    @property
    def seconds(self) -> float | None:
        """Wall time from the start to the end, or to the last sign of life; None where the start is unknown."""
        start, end = parse_time(self.header.started), parse_time(self.header.ended) or self.updated
        return None if start is None else max((end - start).total_seconds(), 0.0)

    @property
    def uses_boxes(self) -> bool:
        """Whether the winner was trained on boxes or masks."""
        return bool(self.result.get("uses_boxes", False))

    def intervals(self, split: str) -> dict[str, tuple[float, float]]:
        """Metric -> 95 % interval over images of the winner on `train_fullsup` or `test`."""
        source = self.test.get("intervals") if split == "test" else (self.result.get("intervals") or {}).get(split)
        pairs = {key: (_number(low), _number(high)) for key, (low, high) in (source or {}).items()}
        return {key: (low, high) for key, (low, high) in pairs.items() if low is not None and high is not None}

    def metrics(self, split: str, baseline: bool = False) -> dict[str, float]:
        """Metric -> value of the winner, or of the centre-Gaussian baseline, on `train_fullsup` or `test`; names
        without the split."""
        if baseline:
            source = self.test.get("baseline") if split == "test" else (self.result.get("baseline") or {}).get(split)
        elif split == "test":
            source = self.test.get("metrics")
        else:
            source = self.result.get(split) or (self.best.metrics if self.best else {})
        mixed = any(key.startswith(f"{split}/") for key in source or {})
        own = {key: value for key, value in (source or {}).items() if not mixed or key.startswith(f"{split}/")}
        return _numbers({key.removeprefix(f"{split}/"): value for key, value in own.items()})


def read_summary(folder: Path) -> Summary:
    """Read everything that a run folder says. Writes nothing; works also while the search is writing.

    Raises:
        InputError: the folder holds neither `study.json` nor `study.journal`, or it holds a campaign.
    """
    journal, notes = folder / names.JOURNAL, list[str]()
    if (folder / names.CAMPAIGN).is_file():
        cell = min(path.parent for path in folder.glob(f"*/{names.EXPERIMENT}"))
        raise InputError(
            f"{folder}: holds a campaign; give one of its runs, such as {cell}; all together are in {names.LEADERBOARD}"
        )
    if not journal.is_file() and not (folder / names.HEADER).is_file():
        raise InputError(
            f"{folder}: no search here: neither {names.HEADER} nor {names.JOURNAL} exists. Give the folder of one run,"
            " such as runs/NAME."
        )
    header = header_or_default(folder, notes)
    study = study_or_none(folder, header.study_name, notes)
    frozen = [] if study is None else study.get_trials(deepcopy=False)
    maximize = study is None or study.directions[0].name != "MINIMIZE"
    updated = datetime.fromtimestamp(
        max(file.stat().st_mtime for file in (journal, folder / names.HEADER) if file.is_file()), UTC
    )
    rows = _rows(frozen, maximize, notes)
    state = _state(folder, header, rows, updated)
    return Summary(
        folder=folder,
        state=state,
        header=header,
        objective=header.objective or "objective",
        maximize=maximize,
        trials=tuple(
            row if state == "running" or row.state != "running" else replace(row, state="interrupted") for row in rows
        ),
        log_params=frozenset(
            path for trial in frozen for path, space in trial.distributions.items() if getattr(space, "log", False)
        ),
        result=json_or_empty(folder / names.WINNER_RESULT, dict, notes),
        evaluations=entries_of_tests(folder, notes),
        examples=tuple(json_or_empty(folder / names.EXAMPLES, list, notes)),
        experiment=text_or_empty(folder / names.EXPERIMENT),
        updated=updated,
        notes=tuple(notes),
        study=study,
    )


def _rows(frozen: Sequence[optuna.trial.FrozenTrial], maximize: bool, notes: list[str]) -> list[TrialRow]:
    """The trials; those with damaged entries in the journal are left out, with a note."""
    rows = []
    for trial in frozen:
        try:
            rows.append(_row(trial, maximize))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            notes.append(f"{names.JOURNAL}: trial {trial.number} is damaged ({error}) and is left out.")
    return rows


def _row(trial: optuna.trial.FrozenTrial, maximize: bool) -> TrialRow:
    attributes = trial.user_attrs
    state = STATES[trial.state.name]
    curve = {epoch: value for epoch, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)}
    reached = (max if maximize else min)(curve.values(), default=None)
    value = _number(trial.values[0]) if trial.values and state == "complete" else reached
    return TrialRow(
        number=trial.number,
        state=state,
        value=None if state == "failed" else value,
        values=tuple(trial.values or ()) if state == "complete" else (),
        params=dict(trial.params),
        curve=curve,
        metrics=_numbers(attributes.get("metrics") or {}),
        setting=attributes.get("post_hoc"),
        best_epoch=attributes.get("best_epoch"),
        epochs=attributes.get("epochs"),
        seconds=_number(attributes.get("seconds")),
        failure=str(attributes.get("failure") or ("no reason was recorded" if state == "failed" else "")),
        retry_of=attributes.get("retry_of"),
        started=parse_time(attributes.get("started")) or parse_time(trial.datetime_start),
        ended=parse_time(attributes.get("ended")) or parse_time(trial.datetime_complete),
        worker=str(attributes.get("worker") or ""),
    )


def _state(folder: Path, header: RunHeader, rows: Sequence[TrialRow], updated: datetime) -> str:
    """The state of the run: finished if it has ended; else as the study's lock says, if it can be tested; else running
    until nothing was written for long."""
    if header.ended:
        return "finished"
    held = is_held(folder)
    epoch = max((row.seconds / row.epochs for row in rows if row.seconds and row.epochs), default=0.0)
    silence = (datetime.now(UTC) - updated).total_seconds()
    alive = silence < max(SILENT_SECONDS, 3 * epoch) if held is None else held
    return "running" if alive else "interrupted"


def _is_final(entry: Mapping[str, Any], checkpoint: str) -> bool:
    """Whether an entry of the test record holds the test numbers of a checkpoint."""
    return entry.get("checkpoint_sha256") == checkpoint and entry.get("state", FINISHED) == FINISHED


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The values that are finite numbers."""
    return {key: number for key, value in values.items() if (number := _number(value)) is not None}
