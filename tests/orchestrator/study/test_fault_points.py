"""What may go wrong at every named stage of a search, once or always, without Ray: a loop stands for Tune that starts a
dead trial again."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.model import Experiment
from orchestrator.runs.folder import open_experiment
from orchestrator.runs.journal import open_study
from orchestrator.study.study import Study
from orchestrator.trials.epoch_log import EpochLog
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher
from orchestrator.trials.wire import Assignment, Report, encode
from orchestrator.trials.worker import run_trial
from orchestrator.verbs import resume
from orchestrator.winner.measure import Measured, MeasureRequest, measure
from tests.support.broken_searches import RUN, experiment, opened
from tests.support.tiny import TINY, Launch
from wsol import build, checkpoint, evaluation, training
from wsol.checkpoint import Checkpoints
from wsol.data import metadata
from wsol.errors import RunFailed
from wsol.metrics import max_box_acc_v2


class Broken(Exception):
    """What a stage raises."""


def search(of: Experiment) -> tuple[list[str], int]:
    """Run a study to its end, each trial up to `max_failures` times more: states of the trials, and how often one was
    started."""
    study = opened(of)
    searcher = StudySearcher(
        study, Plan(1, 1, 0.0, 1, {}), SearchProgress(3, 2, console=Console(quiet=True)), lambda: False
    )
    starts = 0
    for name in map(str, range(99)):
        wire = searcher.suggest(name)
        if not isinstance(wire, dict):
            break
        last: dict[str, Any] = {}

        def report(sent: Report, name: str = name, last: dict[str, Any] = last) -> None:
            searcher.after_epoch(name, encode(sent))
            last.update(encode(sent))

        for _ in range(1 + of.study.max_failures):
            starts += 1
            try:
                run_trial(Assignment.from_plain(wire), report)
            except Broken:
                searcher.restarted(name, lost_node=False)
                continue
            searcher.on_trial_complete(name, last)
            break
        else:
            searcher.on_trial_complete(name, error=True)
    study.close()
    return [one.state.name for one in open_study(RUN).trials], starts


STAGES: dict[str, tuple[Any, str]] = {
    "read the data": (build, "dataset"),
    "build the model": (build, "method"),
    "train": (training, "train_epoch"),
    "evaluate": (training, "evaluate"),
    "save": (checkpoint, "write_state"),
    "sync": (checkpoint, "sync_and_rename"),
    "commit": (checkpoint, "write_text"),
    "keep": (Checkpoints, "drop_latest"),
    "write the log": (EpochLog, "__call__"),
}


def breaking(monkeypatch: pytest.MonkeyPatch, stage: str, *calls: int) -> None:
    """A stage raises in some of its calls, counted from 1."""
    owner, name = STAGES[stage]
    original, seen = getattr(owner, name), [0]

    def broken(*arguments: Any, **words: Any) -> Any:
        seen[0] += 1
        if seen[0] in calls:
            raise Broken(stage)
        return original(*arguments, **words)

    monkeypatch.setattr(owner, name, broken)


@pytest.mark.parametrize("stage", STAGES)
def test_what_breaks_once_is_tried_again(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of = experiment()
    whole, _ = search(of)
    values = [one.values for one in open_study(RUN).trials]
    shutil.rmtree(RUN)
    breaking(monkeypatch, stage, 2)
    states, starts = search(of)
    assert states == whole == ["COMPLETE"] * 3 and starts == 4
    trials = open_study(RUN).trials
    assert [one.values for one in trials] == values  # the same numbers as if nothing had happened
    assert all(sorted(one.intermediate_values) == [1, 2] for one in trials)
    assert [one.user_attrs.get("restarts", 0) for one in trials].count(1) == 1


@pytest.mark.parametrize(
    "stage", [stage for stage in STAGES if stage != "keep"]
)  # by then all epochs are saved: the second start is done
def test_what_breaks_for_good_fails_one_trial_and_the_search_goes_on(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = experiment(study={"trials": 3, "max_failures": 1})
    breaking(monkeypatch, stage, 1, 2)
    states, starts = search(of)
    assert sorted(states) == ["COMPLETE", "COMPLETE", "FAIL"] and starts == 4
    failed = next(one for one in open_study(RUN).trials if one.state.name == "FAIL")
    assert failed.user_attrs["failure"] == f"{__name__}.Broken: {stage}"
    study = Study(RUN, of)
    assert study.retry() == [failed.number] and study.unfinished() == 1


def test_what_breaks_in_the_sampler_leaves_a_study_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends a search whose searcher raises; `resume` opens the study again."""
    of = experiment()
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.study.study.config_hash", lambda config: (_ for _ in ()).throw(Broken("ask")))
        with pytest.raises(Broken):
            search(of)
    assert search(of)[0] == ["COMPLETE"] * 3


@pytest.mark.parametrize("split", ["train_fullsup", "test"])
def test_what_breaks_in_the_final_measurement_is_done_on_resume(
    split: str, space_file: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training is made a search, so that its end evaluates test."""
    original, broken = measure, list[str]()

    def once(request: MeasureRequest) -> Measured:
        if request.split == split and not broken:
            broken.append(split)
            raise RunFailed("the node died")
        return original(request)

    assert launch("train", str(space_file), "--run", "run")[0] == 0
    header = json.loads((RUN / "study.json").read_text())
    (RUN / "study.json").write_text(json.dumps({**header, "kind": "search"}))
    monkeypatch.setattr(resume, "measure", once)
    code, _, err = launch("resume", "run")
    assert code == 1 and "the node died" in err and not (RUN / "test.json").exists()
    for _ in range(2):
        assert launch("resume", "run")[0] == 0
        assert len(json.loads((RUN / "test.json").read_text())["evaluations"]) == 1


def test_a_verb_that_fails_closes_its_study(space_file: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who call it from Python, where the traceback keeps the study alive."""

    def broken(request: MeasureRequest) -> Measured:
        raise RunFailed("the node died")

    assert launch("train", str(space_file), "--run", "run")[0] == 0
    monkeypatch.setattr(resume, "measure", broken)
    with pytest.raises(RunFailed, match="the node died") as kept:
        resume.resume(RUN, [])
    with closing(Study(RUN, open_experiment(RUN))) as study:
        assert kept.traceback and not study.unfinished()


@pytest.mark.parametrize("value", ["high", None, True, float("nan"), float("inf"), torch.tensor(float("nan"))], ids=str)
def test_an_objective_that_is_no_number_fails_with_the_reason(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a metric of someone's own may return."""
    study = opened(experiment())
    task = study.ask()
    assert task is not None
    record = {"epoch": 1, "objective_now": value, "train_fullsup/max_box_acc_v2": value}
    assert not study.report(0, record)
    reason = study.complete(0, [record, {"epoch": 2}], 1.0, "here")
    study.close()
    found = open_study(RUN).trials[0]
    if value is True:
        assert reason is None and found.state.name == "COMPLETE"  # one of Python's integers
    else:
        assert (
            "not a finite number in any of 2 epochs" in str(reason)
            and found.state.name == "FAIL"
            and not found.intermediate_values
        )


def test_an_objective_that_is_undefined_at_first_does_not_hide_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([float("nan"), 3.0, 5.0, float("nan"), 4.0])
    monkeypatch.setattr(training, "evaluate", lambda *arguments: {"max_box_acc_v2": next(values)})
    config = experiment(trial={**TINY["trial"], "training": {"epochs": 5, "batch_size": 4}}).trial
    history = training.train(config, Path("trial"), "train_fullsup/max_box_acc_v2")
    best = Checkpoints(Path("trial")).best
    assert (
        best is not None
        and (best.epoch, best.objective) == (3, 5.0)
        and [record["objective"] for record in history][1:] == [3.0, 5.0, 5.0, 5.0]
    )


def test_a_metric_that_is_missing_fails_every_trial_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(max_box_acc_v2.MaxBoxAccV2, "compute", lambda self: {})
    states, starts = search(experiment())
    assert states == ["FAIL"] * 3 and starts == 3  # not tried again: it can not succeed
    assert "is not measured by evaluation.metrics" in open_study(RUN).trials[0].user_attrs["failure"]


@pytest.mark.parametrize("value", [0.0, 7.0, float("nan"), float("inf")])
def test_constant_and_broken_maps_are_counted_and_scored_as_empty(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment().trial
    dataset = build.dataset(config.data)
    method = build.method(config, dataset.num_classes)
    monkeypatch.setattr(
        type(method), "class_map", lambda self, activations, labels: torch.full((len(labels), 4, 4), value)
    )
    scores = evaluation.evaluate(method, build.images(dataset, "train_fullsup", config.data), config.evaluation)
    assert scores["degenerate_maps"] == 8 and all(number == number for number in scores.values())
    assert scores["max_box_acc_v2"] < 20  # an empty map finds no box


def test_a_search_never_reads_the_boxes_of_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a trial could not see it can not have learned from."""
    build.dataset(experiment().trial.data)
    read = metadata.read
    asked: list[str] = []

    def guarded(folder: Path, **words: Any) -> metadata.Metadata:
        asked.append(folder.name)
        if folder.name == "test":
            raise AssertionError("a trial opened the test split")
        return read(folder, **words)

    monkeypatch.setattr(metadata, "read", guarded)
    assert search(experiment())[0] == ["COMPLETE"] * 3
    assert {"train", "val"} <= set(asked)
