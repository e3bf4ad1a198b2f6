"""What is said of a trial whose process died: why, and from where it goes on."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
from ray.exceptions import OutOfMemoryError
from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.model import Experiment
from orchestrator.study.study import Study
from orchestrator.trials import tuner
from orchestrator.trials.causes import begins_without_its_checkpoints, cause_of_death, where_it_goes_on
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher
from tests.support.studies import create
from tests.support.tiny import TINY
from wsol.checkpoint import Checkpoints
from wsol.errors import RunFailed

LOST = "its checkpoints are missing or damaged: starts again at epoch 1"


def trained(folder: Path) -> Path:
    """The folder of a trial with two epochs, of which the first was the best."""
    for epoch, best in ((1, True), (2, False)):
        record = {"epoch": epoch, "objective": 2.0, "objective_now": 3.0 - epoch}
        Checkpoints(folder).save({"weight": epoch}, record, best=best)
    return folder


def test_the_last_words_are_those_of_the_last_death(tmp_path: Path) -> None:
    assert "without a message" in cause_of_death(tmp_path)
    (tmp_path / "error.txt").write_text("Traceback\nValueError: no\n")
    assert cause_of_death(tmp_path) == "ValueError: no"
    (tmp_path / "hung.txt").write_text("Timeout (0:30:00)!\n")
    assert cause_of_death(tmp_path).startswith("hung: ")


def test_where_a_trial_goes_on_is_where_its_checkpoints_allow(tmp_path: Path) -> None:
    assert where_it_goes_on(tmp_path / "new") == "starts again at epoch 1"
    folder = trained(tmp_path / "trial")
    assert where_it_goes_on(folder) == "goes on from its last checkpoint, of epoch 2"
    (folder / "epoch-0002.pt").write_bytes(b"damaged")
    assert where_it_goes_on(folder) == "goes on from its last checkpoint, of epoch 1"
    (folder / "epoch-0001.pt").unlink()
    assert where_it_goes_on(folder) == LOST == begins_without_its_checkpoints(folder)
    (folder / "manifest.json").write_text("{")
    assert where_it_goes_on(folder) == "is started again"


@pytest.mark.parametrize("loss", ["missing", "damaged"])
def test_a_trial_without_checkpoints_is_not_said_to_go_on_from_them(tmp_path: Path, loss: str) -> None:
    study = create(tmp_path / "run", Experiment.model_validate({**TINY, "study": {"trials": 1}}))
    first, said = begun(study)
    assert not said
    for path in trained(tmp_path / "run" / "trials" / "0000").glob("epoch-*"):
        path.unlink() if loss == "missing" else path.write_bytes(b"damaged")
    first.restarted("a", lost_node=False)
    first.on_trial_complete("a", error=True)
    assert said == [f"trial   0  lost its process; {LOST}", f"trial   0  lost its process twice; {LOST}"]
    study.close()
    _, said = begun(Study(tmp_path / "run", study.experiment))
    assert said == [f"trial   0  {LOST}"]


def begun(study: Study) -> tuple[StudySearcher, list[str]]:
    """A search of a study whose trial runs as `a`, and what it will have noted."""
    progress, said = SearchProgress(1, 2, console=Console(quiet=True)), list[str]()
    progress.note = said.append  # type: ignore[method-assign]
    searcher = StudySearcher(study, Plan(1, 1, 0.0, 1, {}), progress, lambda: False)
    assert searcher.suggest("a")
    return searcher, said


class OutOfMemory:
    """Tune, when Ray ends the process of a trial because memory runs out: it takes that for an error of its own."""

    def fit(self) -> None:
        try:
            raise OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.\nTop 10 users: ...")
        except OutOfMemoryError as error:
            raise RuntimeError(f"Caught unexpected exception: {error}") from error


class TrainsOne:
    """Tune, when memory lasts for one trial."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def fit(self) -> None:
        self._searcher.suggest("b")
        self._searcher.study.fail(0, "trained", 1.0, "here")
        self._searcher.suggest("c")
        self._searcher.study.fail(1, "trained", 1.0, "here")


def run(study: Study, monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """A search whose memory is full so many times; what it notes."""
    tries, said = itertools.count(), list[str]()

    def made(searcher: StudySearcher, *others: object) -> OutOfMemory | TrainsOne:
        searcher.suggest("a")
        return OutOfMemory() if next(tries) < times else TrainsOne(searcher)

    monkeypatch.setattr(tuner, "_tuner", made)
    monkeypatch.setattr(tuner, "raylet_watched", lambda: nullcontext())
    monkeypatch.setattr(tuner, "request_room", lambda plan, trials: None)
    progress = SearchProgress(2, 1, console=Console(quiet=True))
    progress.note = said.append  # type: ignore[method-assign]
    tuner.run_trials(study, Plan(1, 1, 0.0, 1, {}), progress, {}, lambda: False)
    return said


def test_a_search_goes_on_after_memory_was_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = create(tmp_path / "run", Experiment.model_validate({**TINY, "study": {"trials": 2, "max_failures": 2}}))
    said = run(study, monkeypatch, times=2)
    assert said == [tuner.MEMORY, "trial   0  starts again at epoch 1"] * 2
    assert study.trials()[0].user_attrs["restarts"] == 2


def test_a_search_that_memory_ends_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = create(tmp_path / "run", Experiment.model_validate({**TINY, "study": {"trials": 2, "max_failures": 1}}))
    with pytest.raises(RunFailed) as ended:
        run(study, monkeypatch, times=9)
    said = str(ended.value)
    assert said.startswith("the memory of a machine was full") and "resources.concurrent_trials" in said
    assert f"python launch.py resume {tmp_path / 'run'}" in said and "\n" not in said


def test_what_fails_before_anything_is_trained_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create(tmp_path / "run", Experiment.model_validate({**TINY, "study": {"trials": 1}}))
    monkeypatch.setattr(tuner, "raylet_watched", Mock(side_effect=ConnectionError("no raylet")))
    monkeypatch.setattr(tuner, "request_room", lambda plan, trials: None)
    progress = SearchProgress(1, 1, console=Console(quiet=True))
    with pytest.raises(RunFailed, match=r"^Ray stopped the search \(ConnectionError: no raylet\); continue with: "):
        tuner.run_trials(study, Plan(1, 1, 0.0, 1, {}), progress, {}, lambda: False)
