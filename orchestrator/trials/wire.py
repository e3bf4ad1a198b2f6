"""The messages between the search and the processes that train: a trial is sent to a process, and reports come back.

Ray takes plain values, and Ray Tune a flat dict for each report. Both sides use typed messages; the conversion is here.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.foreign import requirements
from orchestrator.study.task import Task
from wsol.checkpoint import Record

if TYPE_CHECKING:
    from orchestrator.cluster.plan import Plan

RECORDED = ("epoch", "objective", "objective_now", "seconds")
"""Entries of an epoch's record, besides those with a slash in their names."""

NODE = "node"
"""Ray's id of the node that sent a report, if the sender knows it."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial, sent to the process that trains it.

    Attributes:
        number: the trial's number.
        config: the configuration to train, as JSON: a node may lack a plugin, and can say so when the trial begins.
        folder: the folder for its files, an absolute path.
        objective: the metric that chooses the epoch.
        directory: the folder where the search was started; relative paths start there.
        host: the machine of the search.
        workers: how many processes train it together.
        needs: the resources that each of them takes of a node, by Ray's names.
        placement: how the workers are spread over the nodes.
        max_failures: how often it is started again when a process dies.
        hang_minutes: it is ended after so many minutes without an epoch; None: the study's longest epoch decides.
        longest_epoch: the longest epoch of the study so far, in seconds; None before the first.
        stores: the address of its results, followed by those of the failed trials that it tries again; empty if all
            nodes see its folder.
        by_image: whether it reports what each image adds to the objective.
        post_hoc: the settings that every epoch is scored under, dotted path -> values, as JSON.
        plugins: of other packages, see `orchestrator.experiment.foreign.requirements`.
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
    by_image: bool = False
    post_hoc: str = "{}"
    plugins: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_task(cls, task: Task, plan: Plan, stores: Sequence[str] = ()) -> Assignment:
        """The assignment of a study's task, as planned, sent from this process."""
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
            by_image=task.study.scheduler == "race",
            post_hoc=json.dumps(task.post_hoc),
            plugins=requirements(task.config),
        )

    def to_plain(self) -> dict[str, Any]:
        """The assignment as numbers, strings, dicts and lists of them."""
        paths = {"folder": str(self.folder), "directory": str(self.directory)}
        return {**dataclasses.asdict(self), **paths, "stores": list(self.stores)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Assignment:
        """The assignment from the result of `to_plain`."""
        paths = {"folder": Path(plain["folder"]), "directory": Path(plain["directory"])}
        return cls(**{**plain, **paths, "stores": tuple(plain["stores"])})


@dataclass(frozen=True, slots=True)
class EpochReport:
    """Reports that an epoch has ended: its record, the process that trained it (`host:process id`), and what each image
    adds to the objective, as `orchestrator.runs.by_image.pack` writes it; empty where nobody asks."""

    record: Record
    worker: str
    images: str = ""


@dataclass(frozen=True, slots=True)
class TrialDone:
    """Reports that a trial has ended well: the records of all its epochs, the seconds that this process spent on it,
    and which process it is."""

    history: list[Record]
    seconds: float
    worker: str


@dataclass(frozen=True, slots=True)
class TrialFailed:
    """Reports that a trial cannot succeed: the reason, the seconds that this process spent on it, and which process it
    is."""

    reason: str
    seconds: float
    worker: str


@dataclass(frozen=True, slots=True)
class TrialHalted:
    """Reports that a trial cannot continue at present, through no fault of its own, such as a full disk: the reason,
    and which process says so."""

    reason: str
    worker: str


Report = EpochReport | TrialDone | TrialFailed | TrialHalted


def encode(report: Report) -> dict[str, Any]:
    """A report as the flat dict that Ray Tune takes. Its kind is told by the key that it has."""
    match report:
        case EpochReport():
            return {**report.record, "worker": report.worker, **({"images": report.images} if report.images else {})}
        case TrialDone():
            return {"history": json.dumps(report.history), "seconds": report.seconds, "worker": report.worker}
        case TrialFailed():
            return {"failure": report.reason, "seconds": report.seconds, "worker": report.worker}
        case TrialHalted():
            return {"halted": report.reason, "worker": report.worker}


def decode(result: Mapping[str, Any] | None) -> Report | None:
    """The report in a result of Ray Tune, which adds entries of its own; None if nothing was reported yet."""
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
    record = {name: value for name, value in result.items() if name in RECORDED or "/" in name}
    return EpochReport(record, worker, str(result.get("images", "")))
