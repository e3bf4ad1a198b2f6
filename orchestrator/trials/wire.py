"""What travels between the search and the processes that train: a trial to one of them, reports back.

Ray takes plain values, and Ray Tune a flat dict for each report. They have types on both sides; here is the border.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.study.task import Task
from wsol.checkpoint import Record

if TYPE_CHECKING:
    from orchestrator.cluster.plan import Plan

RECORDED = ("epoch", "objective", "objective_now", "seconds")
"""Entries of an epoch's record, beside those that have a slash in their names."""

NODE = "node"
"""Ray's id of the node that a report is from, where its sender knows it."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial, sent to the process that trains it.

    Attributes:
        number: the trial's number.
        config: what to train, as JSON: a node may lack a plugin, which is to be said when the trial begins.
        folder: the folder for its files, an absolute path.
        objective: the metric that chooses the epoch.
        directory: where the search was started; relative paths start there.
        host: the machine of the search.
        workers: how many processes train it together.
        needs: what each of them takes of a node, in Ray's words.
        placement: how the workers are spread over the nodes.
        max_failures: how often it is started again when a process dies.
        hang_minutes: it is ended after so many minutes without an epoch; None: the study's longest epoch decides.
        longest_epoch: the longest epoch of the study so far, in seconds; None before the first.
        stores: address of its results and, after it, of those of the failed trials that it tries again; empty: all
            nodes see its folder.
        post_hoc: the settings that every epoch is scored under, dotted path -> values, as JSON.
    """

    number: int
    config: str
    folder: Path
    objective: str
    directory: Path
    host: str
    workers: int
    needs: dict[str, float]
    placement: str
    max_failures: int
    hang_minutes: float | None
    longest_epoch: float | None
    stores: tuple[str, ...]
    post_hoc: str = "{}"

    @classmethod
    def of_task(cls, task: Task, plan: Plan, stores: Sequence[str] = ()) -> Assignment:
        """A task of a study, as planned, sent from this process."""
        return cls(
            number=task.number,
            config=task.config.model_dump_json(),
            folder=task.folder.absolute(),
            objective=task.objective,
            directory=Path.cwd(),
            host=socket.gethostname(),
            workers=plan.workers,
            needs=plan.needs(),
            placement=plan.placement,
            max_failures=task.study.max_failures,
            hang_minutes=task.study.hang_minutes,
            longest_epoch=task.longest_epoch,
            stores=tuple(stores),
            post_hoc=json.dumps(task.post_hoc),
        )

    def to_plain(self) -> dict[str, Any]:
        """Numbers, strings, dicts and lists of them."""
        paths = {"folder": str(self.folder), "directory": str(self.directory)}
        return {**dataclasses.asdict(self), **paths, "stores": list(self.stores)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Assignment:
        """What `to_plain` made."""
        paths = {"folder": Path(plain["folder"]), "directory": Path(plain["directory"])}
        return cls(**{**plain, **paths, "stores": tuple(plain["stores"])})


@dataclass(frozen=True, slots=True)
class EpochReport:
    """An epoch has ended: its record, and which process trained it (`host:process id`)."""

    record: Record
    worker: str


@dataclass(frozen=True, slots=True)
class TrialDone:
    """A trial has ended well: the records of all its epochs, the seconds of this process on it, and which one."""

    history: list[Record]
    seconds: float
    worker: str


@dataclass(frozen=True, slots=True)
class TrialFailed:
    """A trial cannot succeed: why, the seconds of this process on it, and which one."""

    reason: str
    seconds: float
    worker: str


@dataclass(frozen=True, slots=True)
class TrialHalted:
    """A trial cannot go on for now, by no fault of its own, such as on a full disk: why, and which process says so."""

    reason: str
    worker: str


Report = EpochReport | TrialDone | TrialFailed | TrialHalted


def encode(report: Report) -> dict[str, Any]:
    """A report as Ray Tune takes it. Which kind it is shows in which key is there."""
    match report:
        case EpochReport():
            return {**report.record, "worker": report.worker}
        case TrialDone():
            return {"history": json.dumps(report.history), "seconds": report.seconds, "worker": report.worker}
        case TrialFailed():
            return {"failure": report.reason, "seconds": report.seconds, "worker": report.worker}
        case TrialHalted():
            return {"halted": report.reason, "worker": report.worker}


def decode(result: Mapping[str, Any] | None) -> Report | None:
    """What `encode` made, from among what Ray Tune adds to it; None where nothing was reported yet."""
    if not result:
        return None
    worker = str(result.get("worker", "unknown"))
    if "history" in result:
        return TrialDone(json.loads(result["history"]), float(result["seconds"]), worker)
    if "failure" in result:
        return TrialFailed(str(result["failure"]), float(result["seconds"]), worker)
    if "halted" in result:
        return TrialHalted(str(result["halted"]), worker)
    if "objective_now" not in result:
        return None
    return EpochReport({name: value for name, value in result.items() if name in RECORDED or "/" in name}, worker)
