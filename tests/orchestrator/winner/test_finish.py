"""What happens between the last trial and the result: which checkpoint wins, what is measured, what is tested."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.experiment.model import Experiment
from orchestrator.runs.result import ScoredSetting, read_result
from orchestrator.runs.scores import write_scores
from orchestrator.runs.tested import looking_at_test, recorded_tests
from orchestrator.study.study import Study
from orchestrator.winner.finish import finish_search
from orchestrator.winner.measure import Measure, Measured, MeasureRequest, best_setting
from tests.support.studies import create, experiment
from wsol.checkpoint import Checkpoints
from wsol.errors import InputError
from wsol.files import sha256

METRIC, OBJECTIVE = "max_box_acc_v2", "train_fullsup/max_box_acc_v2"
Asked = list[MeasureRequest]


def played(folder: Path, of: Experiment, *values: float) -> Study:
    """A study whose trials end with these values in their first epoch; their weights are their numbers."""
    study = create(folder, of)
    for value in values:
        task = study.ask()
        assert task is not None
        record = {"epoch": 1.0, "objective_now": value, "objective": value, OBJECTIVE: value}
        state = {"method": {"weight": torch.tensor(float(task.number))}}
        Checkpoints(task.folder, task.config).save(state, record, best=True)
        study.complete(task.number, [record], 1.0, "here")
    return study


def machine(study: Study, own: float, chosen: float | None = None) -> tuple[Asked, Measure]:
    """Measures the winner at `own`, and with the post-hoc settings that are chosen at `chosen`."""
    asked: Asked = []
    config = study.experiment.trial

    def measure(request: MeasureRequest) -> Measured:
        asked.append(request)
        metrics = {METRIC: own if chosen is None else chosen, f"{METRIC}/threshold_50": 0.21}
        plain = ScoredSetting({}, {METRIC: own}, config)
        settings = [plain, ScoredSetting({"evaluation.normalizer.name": "max"}, metrics, config)]
        return Measured(
            metrics=metrics,
            intervals={METRIC: [own - 1, own + 1]},
            baseline={METRIC: 50.0},
            config=config,
            training_images="all",
            class_names=("gull", "tern"),
            own={METRIC: own},
            settings=settings if chosen is not None else [],
            first={"winner": 0.75, "0": 0.25},
        )

    return asked, measure


def test_the_checkpoint_of_the_best_trial_is_exported_measured_and_tested_once(tmp_path: Path) -> None:
    study = played(tmp_path, experiment(study={"trials": 3}), 50.0, 60.0, 55.0)
    asked, measure = machine(study, 60.0)
    for _ in range(2):
        result = finish_search(study, tmp_path, measure, test=True)
    assert result is not None and (result.trial, result.epoch, result.value) == (1, 1, 60.0)
    weights = torch.load(tmp_path / "best" / "weights.pt", weights_only=True)
    assert weights["method"]["weight"] == 1.0 and result.checkpoint_sha256 == sha256(tmp_path / "best" / "weights.pt")
    assert [request.split for request in asked] == ["train_fullsup", "test", "train_fullsup"]
    assert [rival.number for rival in asked[0].rivals] == [2, 0] and not asked[1].rivals
    assert asked[0].objective == METRIC and asked[1].objective == ""  # nothing is chosen on test
    assert asked[0].chosen is None and asked[1].chosen == result.train_fullsup
    assert len(recorded_tests(tmp_path)) == 1
    assert result.intervals["test"] == result.intervals["train_fullsup"] and set(result.baseline) == {
        "train_fullsup",
        "test",
    }


@pytest.mark.parametrize("again", [57.9, 62.1], ids=["lower", "higher"])
def test_a_winner_that_scores_otherwise_than_its_trial_reported_is_not_tested(tmp_path: Path, again: float) -> None:
    study = played(tmp_path, experiment(study={"trials": 2}), 50.0, 60.0)
    asked, measure = machine(study, again)
    with pytest.raises(InputError, match=rf"scores {again:.2f} on train_fullsup, but its trial reported 60\.00"):
        finish_search(study, tmp_path, measure, test=True)
    assert [request.split for request in asked] == ["train_fullsup"]
    assert not (tmp_path / "test.json").exists() and not (tmp_path / "best" / "result.json").exists()


def test_a_gain_by_post_hoc_settings_is_no_other_score(tmp_path: Path) -> None:
    of = experiment(study={"trials": 2}, post_hoc={"evaluation.normalizer.name": ["min_max", "max"]})
    study = played(tmp_path, of, 50.0, 60.0)
    asked, measure = machine(study, 60.5, chosen=72.0)
    result = finish_search(study, tmp_path, measure, test=False)
    assert result is not None and (result.value, result.value_measured_again) == (60.0, 60.5)
    assert result.train_fullsup[METRIC] == 72.0
    assert [setting.value for setting in result.post_hoc] == [60.5, 72.0]
    assert asked[0].post_hoc == of.post_hoc
    kept = finish_search(study, tmp_path, machine(study, 60.5)[1], test=False, choose=False)
    assert kept is not None and kept.train_fullsup[METRIC] == 72.0  # chosen before: it stays


def test_a_training_keeps_the_post_hoc_settings_of_its_file(tmp_path: Path) -> None:
    of = experiment(study={"trials": 1}, post_hoc={"evaluation.normalizer.name": ["min_max", "max"]})
    study = played(tmp_path, of, 60.0)
    asked, measure = machine(study, 60.0)
    finish_search(study, tmp_path, measure, test=False, choose=False)
    assert not asked[0].post_hoc


def test_a_test_of_another_checkpoint_is_not_the_winners(tmp_path: Path) -> None:
    study = played(tmp_path, experiment(study={"trials": 2}), 50.0, 60.0)
    asked, measure = machine(study, 60.0)
    (tmp_path / "best").mkdir()
    with looking_at_test(tmp_path, "0ddba11c" * 8, None) as look:
        numbers = {"metrics": {METRIC: 99.0}, "intervals": {METRIC: [98, 100]}, "baseline": {METRIC: 1.0}}
        look.complete({**numbers, "config": {}, "training_images": "all"})
    result = finish_search(study, tmp_path, measure, test=True)
    assert result is not None and set(result.intervals) == set(result.baseline) == {"train_fullsup"}
    assert [request.split for request in asked] == ["train_fullsup"]  # test was looked at: not again
    assert set(json.loads((tmp_path / "best" / "result.json").read_text())["intervals"]) == {"train_fullsup"}


def test_a_test_that_was_cut_off_after_its_numbers_is_recorded_and_not_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = played(tmp_path, experiment(study={"trials": 1}), 60.0)
    asked, measure = machine(study, 60.0)

    def cut_off(request: MeasureRequest) -> Measured:
        measured = measure(request)
        if request.split == "test":
            scores: Any = SimpleNamespace(replicates={}, curves={}, threshold_step=0.01)
            split: Any = SimpleNamespace(name="test", image_ids=("a",))
            write_scores(request.folder / "best", scores, split, request.look, measured.record())
            raise KeyboardInterrupt
        return measured

    with pytest.raises(KeyboardInterrupt):
        finish_search(study, tmp_path, cut_off, test=True)
    assert recorded_tests(tmp_path) == []
    result = finish_search(study, tmp_path, measure, test=True)
    assert [request.split for request in asked] == ["train_fullsup", "test", "train_fullsup"]
    [look] = recorded_tests(tmp_path)
    assert look.metrics[METRIC] == 60.0 and result is not None and result.intervals["test"] == look.intervals
    [said] = capsys.readouterr().out.splitlines()
    assert said == f"now recorded: the evaluation on test begun {look.time}, cut off" and len(said) <= 80


def test_of_two_tests_of_the_winner_the_first_is_its_own(tmp_path: Path) -> None:
    study = played(tmp_path, experiment(study={"trials": 1}), 60.0)
    finish_search(study, tmp_path, machine(study, 60.0)[1], test=True)
    with looking_at_test(tmp_path, sha256(tmp_path / "best" / "weights.pt"), "again") as look:
        numbers = {"metrics": {METRIC: 99.0}, "intervals": {METRIC: [98, 100]}, "baseline": {METRIC: 1.0}}
        look.complete({**numbers, "config": {}, "training_images": "all"})
    result = finish_search(study, tmp_path, machine(study, 60.0)[1], test=True)
    assert result is not None and result.intervals["test"] == {METRIC: [59.0, 61.0]}


def test_settings_that_the_user_adopted_stay_with_their_trial_only(tmp_path: Path) -> None:
    study = played(tmp_path, experiment(study={"trials": 3}), 50.0, 60.0)
    finish_search(study, tmp_path, machine(study, 60.0)[1], test=False)
    path = tmp_path / "best" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "adopted": True}))
    assert finish_search(study, tmp_path, machine(study, 0.0)[1], test=False) == read_result(tmp_path)
    (task,) = [study.ask()]
    assert task is not None
    record = {"epoch": 1.0, "objective_now": 70.0, "objective": 70.0, OBJECTIVE: 70.0}
    Checkpoints(task.folder, task.config).save({"method": {"weight": torch.tensor(2.0)}}, record, best=True)
    study.complete(task.number, [record], 1.0, "here")
    result = finish_search(study, tmp_path, machine(study, 70.0)[1], test=False)
    assert result is not None and result.trial == 2 and not result.adopted


def test_of_equal_settings_the_first_is_chosen() -> None:
    config = experiment().trial
    settings = [ScoredSetting({"number": number}, {METRIC: value}, config) for number, value in enumerate((5, 7, 7, 6))]
    assert best_setting(settings, METRIC) is settings[1]
