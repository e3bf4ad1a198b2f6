"""What Ray Tune is told about trials that go on, end and come back, without Ray."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.model import Experiment
from orchestrator.runs.folder import trial_folder
from orchestrator.runs.journal import open_study
from orchestrator.runs.store import Mirror
from orchestrator.study.study import Study
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher
from orchestrator.trials.wire import EpochReport, encode
from tests.support.studies import create
from tests.support.tiny import TINY


def begun(folder: Path, mirror: Mirror | None = None, **study: Any) -> tuple[Study, StudySearcher]:
    of = Experiment.model_validate({**copy.deepcopy(TINY), "study": {"trials": 3, **study}})
    made = create(folder, of)
    progress = SearchProgress(3, 2, console=Console(quiet=True))
    return made, StudySearcher(made, Plan(1, 1, 0.0, 2, {}), progress, lambda: False, mirror)


def epoch(number: int) -> dict[str, Any]:
    keys = ("objective", "objective_now", "train_fullsup/max_box_acc_v2", "train/loss")
    return encode(EpochReport({"epoch": number, "seconds": 1.0, **dict.fromkeys(keys, 1.0)}, "here:1"))


def test_a_trial_that_the_study_prunes_ends_with_its_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, tune = begun(tmp_path)
    report = study.report
    monkeypatch.setattr(study, "report", lambda number, record, images: report(number, record) or number == 1)
    assert tune.suggest("a") and tune.suggest("b")
    assert (tune.after_epoch("a", epoch(1)), tune.after_epoch("b", epoch(1))) == ("CONTINUE", "STOP")
    tune.on_trial_complete("b", epoch(1))
    assert [trial.state.name for trial in open_study(tmp_path).trials[:2]] == ["RUNNING", "PRUNED"]


def test_a_trial_that_is_tried_again_is_sent_where_the_former_one_left_its_results(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    study, tune = begun(tmp_path / "run", Mirror(str(tmp_path / "store"), tmp_path / "run"), max_failures=0)
    first = tune.suggest("a")
    tune.on_trial_complete("a", error=True)
    assert study.retry() == [0]
    again = next(task for name in "bcd" if (task := tune.suggest(name))["number"] > 0 and len(task["stores"]) > 1)
    places = [trial_folder(Path(), number).as_posix() for number in (again["number"], 0)]
    assert [place.endswith(end) for place, end in zip(again["stores"], places, strict=True)] == [True, True]
    assert isinstance(first, dict) and first["stores"] == again["stores"][1:]
