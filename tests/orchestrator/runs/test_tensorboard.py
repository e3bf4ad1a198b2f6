"""What TensorBoard shows, asked from TensorBoard itself: the table of HParams, scalars, pictures, curves of pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups
from tensorboard.util.tensor_util import make_ndarray

from orchestrator import load_study
from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.runs.tensorboard import write_pixel_curve
from orchestrator.trials.epoch_log import EpochLog
from tests.support.studies import create, experiment, rising
from tests.support.tiny import Launch
from wsol import build, training

CONDITIONAL = {
    "optim.lr": {"low": 0.001, "high": 0.1, "log": True},
    "method.name": {"choices": ["cam", "has"]},
    "method.cell_size": {"low": 4, "high": 16, "when": {"method.name": "has"}},
    "backbone.batch_norm": {"choices": [True, False]},
}
NAMES = {api_pb2.STATUS_SUCCESS: "success", api_pb2.STATUS_FAILURE: "failure", api_pb2.STATUS_UNKNOWN: "unknown"}


def table(folder: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The HParams tab: its parameter columns; of every trial its status, parameters and metrics."""
    runs = EventMultiplexer()
    runs.AddRunsFromDirectory(str(folder))
    runs.Reload()
    provider = MultiplexerDataProvider(runs, str(folder))
    context, request = backend_context.Context(TBContext(data_provider=provider)), RequestContext()
    asked = api_pb2.GetExperimentRequest(hparams_limit=100, include_metrics=True)
    shown = get_experiment.Handler(request, context, "", asked).run()
    wanted = api_pb2.ListSessionGroupsRequest(
        slice_size=1000, include_metrics=True, allowed_statuses=[*NAMES, api_pb2.STATUS_RUNNING]
    )
    metadata = context.hparams_metadata(request, "")
    columns = context.experiment_from_metadata(request, "", True, metadata, 100)
    for info in columns.metric_infos:
        wanted.col_params.add(metric=info.name)
    found = list_session_groups.Handler(request, context, "", wanted).run()
    rows = {}
    for group in found.session_groups:
        session = group.sessions[0]
        values = {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
        metrics = {value.name.tag: value.value for value in group.metric_values}
        rows[session.name] = {"status": NAMES.get(session.status, "running"), "values": values, "metrics": metrics}
    return [info.name for info in shown.hparam_infos], rows


def test_every_trial_is_in_the_table_with_its_parameters_and_metrics(tmp_path: Path) -> None:
    study = create(tmp_path / "runs" / "tiny", experiment(search=CONDITIONAL, study={"trials": 9, "seed": 3}))
    for number in range(9):
        task = study.ask()
        assert task is not None
        history = [record(epoch, value) for epoch, value in enumerate(rising(task.config), start=1)]
        study.report(number, history[0])
        if number % 3 == 2:
            study.fail(number, "killed", 1.0, "here")
        elif number % 3 == 1:
            study.prune(number, 1.0, "here")
        else:
            study.complete(number, history, 1.0, "here")
    columns, rows = table(tmp_path / "runs")
    assert set(columns) == {*CONDITIONAL, "backbone.name", "seed"}
    assert len(rows) == 9
    for trial in study.trials():
        row = rows[f"tiny/trials/{trial.number:04d}"]
        assert {name: row["values"][name] for name in trial.params} == trial.params
        assert set(row["values"]) == {*trial.params, "method.name", "backbone.name", "seed"}
        assert row["status"] == ("failure" if trial.number % 3 == 2 else "success")
        metrics = trial.user_attrs.get("metrics", {})
        shown = {name: value for name, value in row["metrics"].items() if not math.isnan(value)}
        assert shown == {
            f"trial_best/{name}": pytest.approx(value) for name, value in metrics.items() if name != "epoch"
        }
    assert any("method.cell_size" in row["values"] for row in rows.values()) and not all(
        "method.cell_size" in row["values"] for row in rows.values()
    )


def record(epoch: int, value: float) -> dict[str, float]:
    return {"epoch": epoch, "objective_now": value, "train_fullsup/max_box_acc_v2": value, "train/loss": 1 / epoch}


def test_a_running_trial_is_in_the_table_and_one_that_is_tried_again_ends_anew(tmp_path: Path) -> None:
    study = create(tmp_path / "tiny", experiment(study={"trials": 1}))
    assert study.ask() is not None
    assert [row["status"] for row in table(tmp_path)[1].values()] == ["unknown"]
    study.fail(0, "killed", 1.0, "here")
    assert study.retry() == [0]
    assert study.ask() is not None
    assert {name: row["status"] for name, row in table(tmp_path)[1].items()} == {
        "tiny/trials/0000": "failure",
        "tiny/trials/0001": "unknown",
    }
    study.complete(1, [record(1, 50.0)], 1.0, "here")
    assert {name: row["status"] for name, row in table(tmp_path)[1].items()} == {
        "tiny/trials/0000": "failure",
        "tiny/trials/0001": "success",
    }


def test_a_trial_that_repeats_another_has_its_row(tmp_path: Path) -> None:
    study = create(
        tmp_path / "tiny",
        experiment(search={"optim.lr": {"choices": [0.01]}}, study={"trials": 2, "sampler": "random"}),
    )
    assert study.ask() is not None
    study.complete(0, [record(1, 50.0)], 1.0, "here")
    assert study.ask() is None
    first, second = table(tmp_path)[1].values()
    assert first == second and first["metrics"]["trial_best/train_fullsup/max_box_acc_v2"] == 50.0


def test_scalars_of_an_epoch_lie_between_the_files_of_the_table(tmp_path: Path) -> None:
    """TensorBoard reads the files of a folder in the order of their names and never goes back."""
    study = create(tmp_path / "tiny", experiment(study={"trials": 1}))
    task = study.ask()
    assert task is not None
    with EpochLog(task.folder, post_hoc_settings(task.config, {}), writes=True) as log:
        log.scalars(record(1, 50.0))
    study.complete(0, [record(1, 50.0)], 1.0, "here")
    names = [path.name for path in sorted(task.folder.glob("events.*"))]
    assert len(names) == 3 and names[0].endswith("!begin") and names[2].endswith("~end")


def test_training_logs_terms_rates_speed_and_maps_of_fixed_images(tmp_path: Path, space_file: Path) -> None:
    config = experiment().trial.model_copy(
        update={"training": experiment().trial.training.model_copy(update={"epochs": 2})}
    )
    with EpochLog(tmp_path / "with", post_hoc_settings(config, {}), writes=True) as log:
        history = training.train(config, tmp_path / "with", "train_fullsup/max_box_acc_v2", look=log)
    events = EventAccumulator(str(tmp_path / "with")).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {
        "train/loss",
        "train/loss/classification",
        "train/lr",
        "train/images_per_second",
        "train_fullsup/max_box_acc_v2",
    } <= scalars
    for tag in ("train_fullsup/loss/classification", "train_fullsup/top1/cls", "train/lr/backbone", "train/lr/head"):
        assert [event.value for event in events.Scalars(tag)] == [
            pytest.approx(record[tag], rel=1e-6) for record in history
        ]
    assert history[0]["train/lr/head"] == 10 * history[0]["train/lr/backbone"] == 10 * history[0]["train/lr"]
    pictures = events.Tags()["images"]
    assert len(pictures) == 2 and all(
        tag.startswith("score_maps/") for tag in pictures
    )  # one image of each of two classes
    assert [image.step for image in events.Images(pictures[0])] == [1, 2]
    first, second = (image.encoded_image_string for image in events.Images(pictures[0]))
    assert first[:2] == second[:2] == b"\xff\xd8" and first != second
    plain = training.train(config, tmp_path / "without", "train_fullsup/max_box_acc_v2")
    timeless = [
        [{k: v for k, v in one.items() if "second" not in k} for one in records] for records in (history, plain)
    ]
    assert timeless[0] == timeless[1]  # looking changes nothing


def test_maps_are_drawn_where_the_objective_is_the_best_so_far_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment().trial.model_copy(
        update={"training": experiment().trial.training.model_copy(update={"epochs": 6})}
    )
    drawn, nan = list[float](), math.nan
    monkeypatch.setattr(EpochLog, "maps", lambda self, method, record: drawn.append(record["epoch"]))
    method = build.method(config, 2)
    with EpochLog(tmp_path, post_hoc_settings(config, {}), writes=True) as log:
        for epoch, (now, best) in enumerate([(nan, nan), (3.0, 3.0), (2.0, 3.0), (3.0, 3.0), (1, 3.0), (1, 3.0)], 1):
            log(method, {"epoch": epoch, "objective_now": now, "objective": best})
    assert drawn == [1, 2, 4, 6]
    assert len(EventAccumulator(str(tmp_path)).Reload().Scalars("objective_now")) == 6


def test_a_real_training_is_in_the_table_with_all_that_was_measured_at_its_best_epoch(
    space_file: Path, launch: Launch
) -> None:
    assert launch("train", str(space_file), "method=has", "--run", "runs/has")[0] == 0
    ((name, row),) = table(Path("runs"))[1].items()
    assert name == "has/trials/0000" and row["status"] == "success" and row["values"]["method.name"] == "has"
    (trial,) = load_study("runs/has").trials
    recorded = {f"trial_best/{name}": value for name, value in trial.user_attrs["metrics"].items() if name != "epoch"}
    assert {name: value for name, value in row["metrics"].items() if name.startswith("trial_best/")} == pytest.approx(
        recorded, rel=1e-6
    )
    assert {
        "trial_best/train_fullsup/loss/classification",
        "trial_best/train/loss/classification",
        "trial_best/train/lr/head",
    } <= set(recorded)


def test_the_curves_come_first_and_single_points_last(space_file: Path, launch: Launch) -> None:
    """TensorBoard shows the groups of cards by name; a group is what stands before the first slash of a tag."""
    assert launch("train", str(space_file), "training.epochs=2")[0] == 0
    events = EventAccumulator("runs/tiny/trials/0000").Reload()
    tags = events.Tags()
    groups = sorted({tag.partition("/")[0] for tag in (*tags["scalars"], *tags["images"])})
    assert groups[0] == "objective" and groups[-1] == "trial_best" and "score_maps" in groups
    curves = [tag for tag in tags["scalars"] if not tag.startswith("trial_best/")]
    assert all(len(events.Scalars(tag)) == 2 for tag in curves)


def test_the_curve_of_pixels_is_read_back(tmp_path: Path) -> None:
    recall = 100 * (1 - np.arange(1000) / 1000) ** 2
    precision = 20 + 80 * np.arange(1000) / 1000
    for _ in range(2):  # the second replaces the first
        write_pixel_curve(tmp_path, "test", precision, recall)
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Tensors("pixels/test")
    true, false, right_out, missed, shown_precision, shown_recall = make_ndarray(event.tensor_proto)
    assert shown_precision[0] == pytest.approx(0.2) and shown_recall[0] == 1 and len(true) == 101
    assert np.allclose(true / (true + false), shown_precision, atol=1e-6) and np.allclose(
        true / (true + missed), shown_recall, atol=1e-6
    )
    assert np.allclose(true + false + right_out + missed, 1_000_000)
