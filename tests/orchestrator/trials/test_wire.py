"""What travels between the search and the processes that train keeps its meaning."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from orchestrator.cluster.plan import Plan
from orchestrator.runs.by_image import pack
from orchestrator.study.interleaved import Interleaved
from orchestrator.study.study import Study
from orchestrator.study.task import Queue
from orchestrator.trials.wire import (
    Assignment,
    EpochReport,
    Report,
    TrialDone,
    TrialFailed,
    TrialHalted,
    decode,
    encode,
)
from tests.support.studies import create, experiment

RECORD = {"epoch": 1.0, "objective": 3.0, "objective_now": 3.0, "train/loss": 0.5, "seconds": 2.0}
FROM_TUNE = {"training_iteration": 5, "time_total_s": 9.0, "pid": 7, "done": False, "trial_id": "a", "node": "n"}


def test_a_trial_arrives_as_it_was_sent(tmp_path: Path) -> None:
    task = create(tmp_path / "tiny", experiment()).ask()
    assert task is not None
    sent = Assignment.of_task(task, Plan(2, 3, 0.5, 1, {}), ["s3://a", "s3://b"])
    plain = sent.to_plain()
    assert Assignment.from_plain(json.loads(json.dumps(plain))) == sent
    assert sent.folder == task.folder.absolute() and sent.needs == {"CPU": 3, "GPU": 0.5}


@pytest.mark.parametrize(
    "report",
    [
        EpochReport(RECORD, "node:1"),
        EpochReport(RECORD, "node:1", pack([100.0, 0.0])),
        TrialDone([RECORD, {**RECORD, "epoch": 2.0}], 5.0, "node:1"),
        TrialFailed("training diverged", 5.0, "node:1"),
        TrialHalted("the disk is full", "node:1"),
    ],
    ids=lambda report: type(report).__name__,
)
def test_a_report_keeps_its_kind_among_what_tune_adds(report: Report) -> None:
    encoded = encode(report)
    assert all(isinstance(value, str | int | float) for value in encoded.values())
    assert decode({**FROM_TUNE, **encoded}) == report


def test_a_process_that_died_before_its_first_report_reported_nothing() -> None:
    assert decode(None) is None and decode({}) is None and decode(FROM_TUNE) is None


@pytest.mark.parametrize("kind", [Study, Interleaved])
def test_studies_keep_the_promise_of_a_queue(kind: type) -> None:
    """What mypy checks where a search is run, and that nothing differs in names, order or defaults of arguments."""
    for name, promised in inspect.getmembers(Queue, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(kind, name)) == inspect.signature(promised), name


def test_the_trials_wing_asks_for_nothing_but_a_queue(tmp_path: Path) -> None:
    members = {name for name in vars(Queue) if not name.startswith("_")} | set(Queue.__annotations__)
    study = create(tmp_path / "tiny", experiment())
    queue = Interleaved(tmp_path, {"tiny": study}, lambda name: {})
    for one in (study, queue):
        assert not [name for name in members if not hasattr(one, name)]
