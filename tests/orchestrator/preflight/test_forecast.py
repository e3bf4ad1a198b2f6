"""What a search would take: sizes without files, bytes as they are written, seconds of the last epoch, and no start on
a full disk."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.preflight.forecast import STARTS, disk_bytes, forecast_lines, forecast_search, require_disk
from tests.support.tiny import TINY, Launch
from wsol import build, cost, plugins
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.method import Method
from wsol.optim import build_optimizer
from wsol.training import train
from wsol.types import Batch, Progress


def changed(**trial: Any) -> Experiment:
    return Experiment.model_validate({**TINY, "trial": {**TINY["trial"], **trial}})


@pytest.mark.parametrize("cut", [{}, {"subset_per_class": 3, "fullsup_per_class": 9}])
def test_sizes_are_those_of_the_data_set(tmp_path: Path, cut: dict[str, int]) -> None:
    config = changed(data={**TINY["trial"]["data"], "root": str(tmp_path), **cut}).trial.data
    known = build.sizes(config)
    assert not list(tmp_path.iterdir())
    data = build.dataset(config)
    counts = {name: len(build.split(data, name, config)) for name in ("train_weaksup", "train_fullsup", "test")}
    assert counts == {name: getattr(known, name) for name in counts} and known.classes == data.num_classes
    assert known.train_weaksup == (6 if cut else 16)


def test_published_sizes_need_no_files() -> None:
    sizes = {
        name: build.sizes(plugins.load("dataset", name).Config(name=name))
        for name in ("cub", "imagenet", "openimages", "tiny_imagenet")
    }
    assert {name: one.train_weaksup for name, one in sizes.items()} == {
        "cub": 5994,
        "imagenet": 1281167,
        "openimages": 29819,
        "tiny_imagenet": 90000,
    }
    cub = plugins.load("dataset", "cub").Config
    tested = {kind: build.sizes(cub(name="cub", test_images=kind)).test for kind in ("official", "small", "both")}
    assert tested == {"official": 5794, "small": 197, "both": 5991}
    config = plugins.load("dataset", "openimages").Config(name="openimages", fullsup_per_class=5)
    assert build.sizes(config).train_fullsup == 500  # the published protocol


@pytest.mark.parametrize("change", ["momentum=0.9", "momentum=0.0", "optimizer=adamw"])
def test_a_checkpoint_is_as_large_as_said(space_file: Path, change: str) -> None:
    config = load_experiment(space_file, ["backbone.width=32", f"optim.{change}", "training.epochs=1"]).experiment.trial
    train(config, Path("trial"), "train_fullsup/max_box_acc_v2")
    written = next(Path("trial").glob("epoch-*.pt")).stat().st_size
    said = cost.checkpoint_bytes(build.bare_method(config, 2), config.optim)
    assert said == pytest.approx(written, rel=0.03)


def test_wall_time_is_arithmetic_on_what_was_measured(space_file: Path) -> None:
    experiment = load_experiment(
        space_file, ["study.trials=5", "training.epochs=7", "training.batch_size=5"]
    ).experiment
    made = forecast_search(experiment)
    assert made.parameters == sum(
        parameter.numel() for parameter in build.bare_method(experiment.trial, 2).parameters()
    )
    assert 0 < made.seconds_per_step < 5 and 0 < made.seconds_per_image < 5
    assert made.steps_per_epoch == 4  # 16 images in batches of 5
    trial = 7 * (4 * made.seconds_per_step + 8 * made.seconds_per_image)
    assert made.seconds_per_trial == pytest.approx(trial)
    end = (4 * 8 + 6) * made.seconds_per_image
    assert made.total_seconds(2) == pytest.approx(STARTS + 3 * trial + end)
    assert made.total_seconds(5) == pytest.approx(STARTS + trial + end)
    assert made.hours_of_devices == pytest.approx(5 * trial / 3600)
    assert made.disk_bytes > 5 * made.checkpoint_bytes
    assert [path.name for path in Path().iterdir()] == ["tiny.yaml"]


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps take a second and evaluation batches half of one; the images of every step that is measured."""
    measured: list[int] = []

    def step(method: Method, config: TrainConfig, images: Any) -> float:
        measured.append(len(images))
        return 1.0

    monkeypatch.setattr(cost, "_seconds_of_step", step)
    monkeypatch.setattr(cost, "_seconds_of_evaluation", lambda method, config, images: 0.5)
    return measured


def test_workers_share_a_batch_and_the_images(space_file: Path, shares: list[int]) -> None:
    experiment = load_experiment(
        space_file, ["resources.workers=4", "training.batch_size=6", "resources.concurrent_trials=3"]
    ).experiment
    made = forecast_search(experiment)
    assert shares == [2] and made.concurrent == 3
    assert made.seconds_per_trial == 2 * (3 * 1.0 + 2 * 0.5)
    assert made.hours_of_devices == pytest.approx(3 * made.seconds_per_trial * 4 / 3600)


def test_what_trains_on_boxes_is_counted_by_its_own_images(space_file: Path, shares: list[int]) -> None:
    """Of two classes with four images of train_fullsup each, three train and one selects."""
    made = forecast_search(load_experiment(space_file, ["method=few_shot", "training.batch_size=4"]).experiment)
    assert shares == [4] and made.steps_per_epoch == 2
    assert made.seconds_per_trial == 2 * (2 * 1.0 + 2 * 0.5)


def test_the_last_epoch_is_measured(space_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a loss that set in late cost as well."""
    seen: list[Progress] = []
    forward = Method.forward

    def spy(self: Method, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        seen.append(progress)
        return forward(self, batch, progress)

    monkeypatch.setattr(Method, "forward", spy)
    forecast_search(load_experiment(space_file, ["training.epochs=9"]).experiment)
    assert {(progress.epoch, progress.epochs) for progress in seen} == {(9, 9)}


@pytest.mark.parametrize("metrics", [[{"name": "pxap"}], [{"name": "max_box_acc_by_size"}, {"name": "top1"}]])
def test_boxes_or_masks_as_the_metrics_ask(metrics: list[dict[str, str]]) -> None:
    experiment = changed(
        data={"name": "openimages", "image_size": 32, "resize_size": 36},
        evaluation={"metrics": metrics, "threshold_step": 0.01},
    )
    assert forecast_search(experiment).seconds_per_image > 0


@pytest.mark.parametrize("method", ["crop_cam", "da_wsol", "f_cam", "few_shot"])
def test_every_kind_of_method_can_be_measured(method: str) -> None:
    made = forecast_search(changed(method={"name": method}, initial_run="runs/not-there"))
    optimizer = build_optimizer(
        build.bare_method(changed(method={"name": method}, initial_run="x").trial, 2), changed().trial.optim
    )
    assert made.checkpoint_bytes >= made.weights_bytes and optimizer.param_groups
    assert math.isfinite(made.seconds_per_step)


def test_a_step_that_does_not_fit_the_device_is_said(space_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cost, "_seconds_of_step", full)
    with pytest.raises(InputError, match=r"trial.training.batch_size: a step of 4 images does not fit the memory of"):
        forecast_search(load_experiment(space_file).experiment)


def test_the_disk_holds_running_trials_too() -> None:
    alone, together = disk_bytes(10**9, 4, 1, 1), disk_bytes(10**9, 4, 1, 4)
    assert alone // 10**9 == 6 and together // 10**9 == 12 and disk_bytes(10**9, 4, 1, 9) == together


def test_a_search_that_does_not_fit_the_disk_is_refused(
    space_file: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage
    monkeypatch.setattr(
        "orchestrator.preflight.forecast.shutil.disk_usage",
        lambda place: SimpleNamespace(free=10**7, total=usage(place).total),
    )
    for words in (["--dry-run"], []):
        code, _, err = launch("search", str(space_file), "study.trials=100", *words)
        assert code == 2 and "the run needs up to 0.03 GB" in err and "0.01 GB are free there" in err and "--run" in err
    assert not Path("runs").exists()
    require_disk(9_999_999, Path("runs/new"))


def test_a_dry_run_for_a_larger_machine_says_so(space_file: Path, launch: Launch) -> None:
    words = ["resources.cpus_per_worker=512", "resources.concurrent_trials=3", "resources.gpus_per_worker=0.0"]
    code, out, _ = launch("search", str(space_file), "--dry-run", *words)
    assert code == 0 and "note: not on this machine: resources: one trial with 1 worker(s) needs 512 CPU" in out
    assert "for 3 trials, 3 at a time" in out
    code, _, err = launch("search", str(space_file), *words)
    assert code == 2 and "needs 512 CPU" in err


def test_a_dry_run_tells_what_a_search_takes(space_file: Path, launch: Launch) -> None:
    code, out, _ = launch("search", str(space_file), "--dry-run", "resources.concurrent_trials=1")
    assert code == 0
    told = out[out.index("forecast") :]
    assert (
        "M parameters" in told
        and "for 3 trials, 1 at a time" in told
        and "CPU hours" in told
        and "are free there" in told
    )
    assert max(map(len, told.splitlines())) <= 80


def test_what_every_trial_looks_at_costs_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute an image under all settings, a second as configured: told, and counted in trials and at the end."""
    normalizers = [{"name": "max"}, {"name": "pas"}, {"name": "ivr"}]
    grid = {"post_hoc": {"evaluation.normalizer": normalizers}, "study": {"trials": 3, "post_hoc": "every_trial"}}
    asked: list[int] = []

    def measured(*arguments: Any) -> cost.Seconds:
        asked.append(len(arguments[-1]))
        return cost.Seconds(0.0, 1.0, 60.0 if len(arguments[-1]) > 1 else 1.0)

    monkeypatch.setattr(cost, "seconds", measured)
    made, plain = (forecast_search(Experiment.model_validate(of)) for of in ({**TINY, **grid}, TINY))
    assert asked == [4, 1] and (made.settings, plain.settings) == (4, 1)
    fullsup, epochs = made.sizes.train_fullsup, made.epochs
    assert (made.seconds_per_trial, plain.seconds_per_trial) == (60.0 * fullsup * epochs, fullsup * epochs)
    assert made.seconds_at_the_end - plain.seconds_at_the_end == 60.0 * fullsup
    lines = list(forecast_lines(made, 1, Path()))
    told = next(index for index, line in enumerate(lines) if "post-hoc 4 settings after every epoch: 60 s" in line)
    assert lines[told + 1].strip() == "100 % of a trial" and all(len(line) <= 80 for line in lines)
    assert not any("post-hoc" in line for line in forecast_lines(plain, 1, Path()))


def test_the_choice_at_the_end_is_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute an image under all settings, once for the winner."""
    grid = {"post_hoc": {"evaluation.normalizer": [{"name": "max"}, {"name": "pas"}, {"name": "ivr"}]}}
    asked: list[int] = []

    def measured(*arguments: Any) -> float:
        asked.append(len(arguments[-1]))
        return 60.0

    monkeypatch.setattr(cost, "seconds", lambda *_: cost.Seconds(0.0, 1.0, 1.0))
    monkeypatch.setattr(cost, "seconds_of_choice", measured)
    made, plain = (forecast_search(Experiment.model_validate({**TINY, **more})) for more in (grid, {}))
    assert asked == [4] and (made.settings, made.choices, plain.choices) == (1, 4, 1)
    assert made.seconds_at_the_end - plain.seconds_at_the_end == 60.0 * made.sizes.train_fullsup
    assert made.seconds_per_trial == plain.seconds_per_trial
    (line,) = [line for line in forecast_lines(made, 1, Path()) if "post-hoc" in line]
    assert line == "  post-hoc 4 settings of the winner: 60 s an image, 8m 0s at the end"
    assert not any("post-hoc" in line or "passes" in line for line in forecast_lines(plain, 1, Path()))


def test_passes_of_extractors_are_counted_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of a second for each channel would take minutes to measure."""
    extractors = [{"name": "grad_cam"}, {"name": "score_cam"}, {"name": "score_cam", "variant": "torchcam"}]
    extractors += [{"name": "ablation_cam"}, {"name": "smooth_grad_cam_pp", "samples": 2}, {"name": "eigen_cam"}]
    experiment = Experiment.model_validate({**TINY, "post_hoc": {"evaluation.extractor": extractors}})
    channels = build.bare_method(experiment.trial, 2).network.backbone.channels
    ran: list[str] = []
    score_cam = plugins.load("extractor", "score_cam")
    monkeypatch.setattr(score_cam, "logits_in_chunks", lambda *_: ran.append("score_cam"))
    monkeypatch.setattr(cost, "FEW_PASSES", 6)
    monkeypatch.setattr(cost, "_seconds_of_pass", lambda method, images: 1000.0)
    made = forecast_search(experiment)
    assert channels > 6 and ran == []
    assert made.passes == {"score_cam": channels, "ablation_cam": channels, "smooth_grad_cam_pp": 6}
    assert 0 < made.seconds_of_choice - 3 * channels * 1000.0 < 100
    lines = list(forecast_lines(made, 1, Path()))
    told = " ".join(" ".join(lines).split())
    assert f"passes score_cam {channels}, ablation_cam {channels}, smooth_grad_cam_pp 6 of the network an image" in told
    assert max(map(len, lines)) <= 80


def test_a_pass_is_measured_where_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = changed(evaluation={**TINY["trial"]["evaluation"], "extractor": {"name": "score_cam"}})
    monkeypatch.setattr(cost, "FEW_PASSES", 0)
    made = forecast_search(experiment)
    assert 0 < made.seconds_per_image < 10 and list(made.passes) == ["score_cam"] and made.choices == 1


def test_a_choice_that_does_not_fit_the_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cost, "seconds", lambda *_: cost.Seconds(0.0, 1.0, 1.0))
    monkeypatch.setattr(cost, "_seconds_of_evaluation", full)
    grid = {"post_hoc": {"evaluation.normalizer": [{"name": "max"}]}}
    with pytest.raises(InputError, match=r"trial\.evaluation\.batch_size: a batch of 8 under 2 post-hoc settings does"):
        forecast_search(Experiment.model_validate({**TINY, **grid}))
