"""What may go wrong at every named stage of a search, once or always, without Ray: a loop stands for Tune that starts a
dead trial again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.runs.journal import open_study
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from orchestrator.trials.epoch_log import EpochLog
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher
from orchestrator.trials.wire import Assignment, Report, encode
from orchestrator.trials.worker import run_trial
from orchestrator.verbs import resume
from orchestrator.winner.measure import Measured, MeasureRequest, measure
from tests.support.tiny import TINY
from wsol import build, checkpoint, evaluation, files, training
from wsol.checkpoint import Checkpoints
from wsol.data import metadata
from wsol.errors import InputError, RunFailed
from wsol.metrics import max_box_acc_v2

Launch = Callable[..., tuple[int, str, str]]

RUN = Path("run")


class Broken(Exception):
    """What a stage raises."""


def experiment(**sections: Any) -> Experiment:
    return Experiment.model_validate({**TINY, **sections})


def opened(of: Experiment) -> Study:
    """The study of the run folder, a new one if it is not there."""
    return Study(RUN, of) if (RUN / "study.json").exists() else create_study(RUN, of, RunHeader("run"))


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


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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


@pytest.mark.parametrize("path", ["epoch-0002.pt.part", "manifest.json.part"])
def test_a_process_killed_after_any_byte_of_a_checkpoint_goes_on_from_the_one_before(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is cut after k bytes, for k over the whole file, and nothing cleans up."""
    saved = {epoch: {"epoch": epoch, "objective_now": float(epoch), "objective": float(epoch)} for epoch in (1, 2)}
    Checkpoints(Path("first")).save({"w": torch.arange(50)}, saved[1], best=True)
    before = {file.name: file.read_bytes() for file in Path("first").iterdir()}
    Checkpoints(Path("first")).save({"w": torch.arange(50) * 2}, saved[2], best=True)
    whole = (Path("first") / path.removesuffix(".part")).read_bytes()
    for cut in range(0, len(whole) + 1, max(1, len(whole) // 40)):
        folder = Path(f"cut-{cut}")
        folder.mkdir()
        for name, content in before.items():
            (folder / name).write_bytes(content)
        if "manifest" in path:
            shutil.copy(Path("first") / "epoch-0002.pt", folder)
        (folder / path).write_bytes(whole[:cut])
        found = Checkpoints(folder).newest_intact()
        assert found is not None and found[0]["w"][1] == 1 and len(found[1]) == 1
        Checkpoints(folder).save({"w": torch.arange(50) * 3}, saved[2], best=True)
        assert sorted(file.name for file in folder.iterdir()) == ["epoch-0002.pt", "manifest.json"]


@pytest.mark.parametrize("room", [0, 1, 1000, 20_000, 40_000])
def test_a_disk_that_fills_up_ends_the_trial_and_not_what_it_saved(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch is saved; for the second there is room for so many bytes."""
    config = experiment().trial
    write, sync, calls = torch.save, files.sync_and_rename, []

    def save(state: Any, path: Path) -> None:
        write(state, path)
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(path.read_bytes()[:room])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space left"):
        training.train(config, Path("trial"), "train_fullsup/max_box_acc_v2")
    assert sync is checkpoint.sync_and_rename
    assert len(training.train(config, Path("trial"), "train_fullsup/max_box_acc_v2")) == 2 and len(calls) == 3


def test_half_a_record_at_the_end_of_the_journal_is_dropped() -> None:
    """As a full disk leaves it: the next record would be glued to it."""
    of = experiment()
    study = opened(of)
    assert study.ask() is not None
    study.close()
    journal = RUN / "study.journal"
    whole = journal.read_bytes()
    for cut in (1, 5, 40):
        journal.write_bytes(whole + whole.splitlines(keepends=True)[-1][:-cut])
        again = Study(RUN, of)
        again.report(again.ask().number, {"epoch": 1, "objective_now": 1.0})  # type: ignore[union-attr]
        again.close()
        trials = open_study(RUN).trials
        assert len(trials) == 1 and trials[0].intermediate_values == {1: 1.0}


def test_runs_of_another_version_are_refused_with_what_to_do(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    header = json.loads((RUN / "study.json").read_text())
    old = {name: value for name, value in header.items() if name != "format"}
    (RUN / "study.json").write_text(json.dumps(old))
    assert launch("resume", "run")[0] == 0  # the first format had no number
    (RUN / "study.json").write_text(json.dumps({**header, "format": 2}))
    code, _, err = launch("resume", "run")
    assert code == 2 and "its format is 2, this program reads 1: go on with the version that made it" in err
    (RUN / "study.json").write_text(json.dumps(header))
    written = (RUN / "experiment.yaml").read_text()
    (RUN / "experiment.yaml").write_text(written.replace("keep_checkpoints:", "kept_checkpoints:"))
    code, _, err = launch("resume", "run")
    assert code == 2 and "kept_checkpoints" in err and "experiment.yaml:" in err and "run was made by commit" in err
    (RUN / "experiment.yaml").write_text(written)
    journal = (RUN / "study.journal").read_text()
    for text in (
        journal + '{"op_code": 99, "worker_id": "a"}\n',
        journal.replace("op_code", "operation", 1),
        "records\n" + journal,
        "",
    ):
        (RUN / "study.journal").write_text(text)
        code, _, err = launch("resume", "run")
        assert code == 2 and "study.journal: Optuna" in err and "can not read it" in err and "Traceback" not in err
    (RUN / "study.json").write_text("{")
    code, _, err = launch("resume", "run")
    assert code == 2 and "study.json: is damaged" in err


def test_a_study_with_several_owners_at_once_is_refused(space_file: Path) -> None:
    study = opened(load_experiment(space_file).experiment)
    with pytest.raises(InputError, match="is working on this study"):
        opened(study.experiment)
    study.close()
