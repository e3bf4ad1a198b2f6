"""`study.post_hoc: every_trial`: each epoch counts with its best post-hoc setting, and the winner is measured and
tested with the one that its trial chose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.formats import settings_in_words
from orchestrator.report.page import write_report
from orchestrator.report.status import read_status, status_lines
from orchestrator.runs.folder import write_experiment, write_trials
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.checkpoints import find_rivals
from orchestrator.study.study import Study
from orchestrator.trials.epoch_log import EpochLog
from orchestrator.winner.finish import finish_search
from orchestrator.winner.measure import measure
from tests.support.tiny import OBJECTIVE, TINY, Launch
from wsol.checkpoint import OWN, SETTING, Checkpoints
from wsol.errors import InputError
from wsol.training import train

METRIC = "max_box_acc_v2"
GRID: dict[str, list[Any]] = {
    "method.max_crop_area": [0.0, 1.0],
    "evaluation.normalizer": [{"name": "min_max"}, {"name": "pas", "percentile": 40.0}],
}
CROP = {"name": "crop_cam", "crop_threshold": 0.6, "max_crop_area": 0.4}
CHOOSING = {
    **TINY,
    "trial": {**TINY["trial"], "method": CROP},
    "post_hoc": GRID,
    "study": {"trials": 3, "post_hoc": "every_trial", "sampler": "random"},
}


def begun(folder: Path, **study: Any) -> Study:
    of = Experiment.model_validate({**CHOOSING, "study": {**CHOOSING["study"], **study}})
    folder.mkdir(exist_ok=True)
    write_experiment(folder, of, "tiny")
    return create_study(folder, of, RunHeader("run", objective=OBJECTIVE, objectives=(OBJECTIVE,)))


def train_all(study: Study) -> None:
    while task := study.ask():
        settings = post_hoc_settings(task.config, task.post_hoc)
        with EpochLog(task.folder, settings, writes=True) as log:
            configs = [config for _, config in settings]
            history = train(task.config, task.folder, OBJECTIVE, look=log, settings=configs)
        study.complete(task.number, history, 1.0, "here:1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search whose trials chose."""
    folder = tmp_path_factory.mktemp("every") / "run"
    study = begun(folder)
    train_all(study)
    finish_search(study, folder, measure, test=True)
    write_trials(folder, study.trials())
    write_report(folder)
    study.close()
    return folder


def opened(folder: Path) -> Study:
    return Study(folder, load_experiment(folder / "experiment.yaml").experiment)


def test_a_trial_has_the_value_of_its_best_setting_and_knows_it(run: Path) -> None:
    study = opened(run)
    chosen = []
    for trial in study.trials(TrialState.COMPLETE):
        folder = run / "trials" / f"{trial.number:04d}"
        history = json.loads((folder / "manifest.json").read_text())["history"]
        best = max(history, key=lambda record: record["objective_now"])
        settings = post_hoc_settings(study.config_of(trial), GRID)
        assert trial.values == [best["objective_now"]] and best["objective_now"] >= best[OWN]
        assert study.setting_of(trial) == settings[int(best[SETTING])][0]
        assert study.scored_config_of(trial) == settings[int(best[SETTING])][1]
        assert trial.intermediate_values == {int(one["epoch"]): one["objective_now"] for one in history}
        chosen.append(trial.user_attrs["post_hoc"])
    study.close()
    assert any(chosen), "else nothing is told apart here"


def test_the_winner_is_measured_and_tested_with_its_own_choice(run: Path) -> None:
    study = opened(run)
    winner = study.best()
    assert winner is not None
    config, setting = study.scored_config_of(winner).model_dump(mode="json"), study.setting_of(winner)
    rivals = find_rivals(study, run, winner)
    assert [one.config for one in rivals] == [study.scored_config_of(trial) for trial in study.ranked()[1:]]
    study.close()
    result = json.loads((run / "best" / "result.json").read_text())
    assert result["chosen"] == setting and result["config"] == config
    assert result["value"] == winner.values[0] == pytest.approx(result["value_measured_again"])
    assert result["train_fullsup"][METRIC] == pytest.approx(result["value"])
    assert [one["values"] for one in result["post_hoc"]] == [
        values for values, _ in post_hoc_settings(study.config_of(winner), GRID)
    ]
    assert sum(result["first"].values()) == pytest.approx(1)
    (test,) = json.loads((run / "test.json").read_text())["evaluations"]
    assert test["config"] == config == yaml.safe_load((run / "best" / "config.yaml").read_text())
    again = load_experiment(run / "best.yaml").experiment
    assert again.study.post_hoc == "winner" and again.trial.model_dump(mode="json") == config


def test_the_choice_of_the_trial_stays_where_another_is_best_when_measured_again(tmp_path: Path) -> None:
    """Another device may see another best one: the trial's value is of the setting that it chose."""
    study = begun(tmp_path / "run", trials=1)
    train_all(study)
    (trial,) = study.trials()
    last = post_hoc_settings(study.config_of(trial), GRID)[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "setting_of", lambda self, trial: last[0])
        patch.setattr("orchestrator.winner.finish._require_same", lambda result: None)
        result = finish_search(study, tmp_path / "run", measure, test=False)
    study.close()
    assert result is not None and result.config == last[1].model_dump(mode="json")
    assert result.choice is not None and result.choice.values == last[0]
    assert result.choice.value == pytest.approx(result.train_fullsup[METRIC]) == result.value_measured_again


def test_report_table_status_and_tensorboard_name_the_setting(run: Path) -> None:
    study = opened(run)
    winner = study.best()
    study.close()
    assert winner is not None
    words = settings_in_words(winner.user_attrs["post_hoc"])
    page = (run / "report.html").read_text()
    assert (
        "post-hoc setting of that epoch" in page and page.count(f"<td>{words}</td>") >= 1 and f"{words} (used)" in page
    )
    assert (
        "The one in use is the trial's own choice" in page and "more settings were looked at on train_fullsup" in page
    )
    assert f"post-hoc setting of that epoch: {words}" in "\n".join(map(str, status_lines(read_status(run))))
    assert words in (run / "trials.csv").read_text().splitlines()[1 + winner.number]
    folder = run / "trials" / f"{winner.number:04d}"
    scalars = EventAccumulator(str(folder)).Reload()
    (epoch,) = [
        one
        for one in json.loads((folder / "manifest.json").read_text())["history"]
        if one["epoch"] == winner.user_attrs["best_epoch"]
    ]
    chosen = post_hoc_settings(load_experiment(run / "experiment.yaml").experiment.trial, GRID)
    limits = {one.step: one.value for one in scalars.Scalars("post_hoc/method.max_crop_area")}
    expected = chosen[int(epoch[SETTING])][1].method.max_crop_area
    assert limits[int(epoch["epoch"])] == pytest.approx(expected)


def test_an_edited_choice_is_refused_and_a_run_without_one_opens_as_before(run: Path, tmp_path: Path) -> None:
    other = Experiment.model_validate({**CHOOSING, "post_hoc": {"method.max_crop_area": [0.0, 0.2]}})
    with pytest.raises(InputError, match=r"was changed after it was trained with.*every trial chooses from"):
        Study(run, other)
    before = Experiment.model_validate({**CHOOSING, "study": {"trials": 1}})
    create_study(tmp_path, before, RunHeader("run")).close()
    header = json.loads((tmp_path / "study.json").read_text())
    assert "post_hoc" not in header
    Study(tmp_path, before).close()
    with pytest.raises(InputError, match="every trial chooses from"):
        Study(tmp_path, Experiment.model_validate({**CHOOSING, "study": {"trials": 1, "post_hoc": "every_trial"}}))


def test_a_training_chooses_too_where_it_is_told_to(space_file: Path, launch: Launch) -> None:
    """And goes on choosing where it was interrupted."""
    grid = "post_hoc.evaluation.normalizer=[{name: min_max}, {name: pas, percentile: 40.0}]"
    code, out, err = launch("train", str(space_file), grid, "study.post_hoc=every_trial")
    assert code == 0 and "are kept" not in out, err
    result = json.loads(Path("runs/tiny/best/result.json").read_text())
    assert f"post-hoc settings chosen on train_fullsup: {settings_in_words(result['chosen'])} (of 2)" in out
    history = Checkpoints(Path("runs/tiny/trials/0000")).history
    assert result["value"] == max(one["objective_now"] for one in history) and all(SETTING in one for one in history)
    assert launch("resume", "runs/tiny")[0] == 0
    assert json.loads(Path("runs/tiny/best/result.json").read_text()) == result


def test_there_must_be_something_to_choose_from(space_file: Path, launch: Launch) -> None:
    code, _, err = launch("train", str(space_file), "study.post_hoc=every_trial")
    assert code == 2 and "study.post_hoc: every_trial has nothing to choose from" in err
    assert launch("validate", str(space_file), "study.post_hoc=always")[0] == 2
