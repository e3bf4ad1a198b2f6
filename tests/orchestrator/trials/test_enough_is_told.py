"""A search that has found enough says so when it stops starting trials, once."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.model import Experiment
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import Searcher, StudySearcher
from orchestrator.trials.wire import EpochReport, TrialDone, encode
from tests.support.studies import create
from tests.support.tiny import TINY


def test_the_reason_is_told_once_and_running_trials_end(tmp_path: Path) -> None:
    study = create(tmp_path, Experiment.model_validate({**TINY, "study": {"trials": 9, "stop": {"patience": 1}}}))
    progress, said = SearchProgress(9, 2, console=Console(quiet=True)), list[str]()
    progress.note = said.append  # type: ignore[method-assign]
    searcher = StudySearcher(study, Plan(1, 1, 0.0, 2, {}), progress, lambda: False)
    for name, value in (("a", 5.0), ("b", 4.0)):
        assert searcher.suggest(name)
        keys = ("objective", "objective_now", "train_fullsup/max_box_acc_v2", "train/loss")
        record = {"epoch": 1, "seconds": 1.0, **dict.fromkeys(keys, value)}
        if name == "b":
            assert searcher.suggest("c")  # runs when the reason is found
        searcher.after_epoch(name, encode(EpochReport(record, "here:1")))
        searcher.on_trial_complete(name, encode(TrialDone([record], 1.0, "here:1")))
    reason = "the last 1 trial found nothing better than trial 0 (study.stop.patience: 1)"
    assert said == [f"no further trial is started: {reason}"]
    assert searcher.suggest("d") is None  # the one that runs may have to be asked for again
    searcher.after_epoch("c", encode(EpochReport(record, "here:1")))
    searcher.on_trial_complete("c", encode(TrialDone([record], 1.0, "here:1")))
    assert len(said) == 1 and searcher.suggest("d") == Searcher.FINISHED
