"""Settings that change no weight: many of them in one pass, each as it would be alone; the best one counts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.crop_cam import make, make_batch
from tests.support.tiny import OBJECTIVE, TINY, changed
from wsol import build
from wsol.checkpoint import OWN, SETTING, Checkpoints, Record
from wsol.config import EvaluationConfig, TrainConfig
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.evaluation import evaluate
from wsol.extractor import extract_together, extract_with
from wsol.method import Method
from wsol.methods.crop_cam import CropCAM
from wsol.methods.has import HideAndSeek
from wsol.post_hoc import best_place, pipelines, scored_best
from wsol.training import train


def settings_of(method: dict[str, Any], *more: dict[str, Any]) -> list[TrainConfig]:
    """A tiny configuration with a method, and with changes of method and evaluation."""
    trial = {**TINY["trial"], "method": method}
    every = [{}, *more]
    return [
        TrainConfig.model_validate(
            {
                **trial,
                "method": {**method, **one.get("method", {})},
                "evaluation": {**trial["evaluation"], **one.get("evaluation", {})},
            }
        )
        for one in every
    ]


@pytest.fixture
def scene() -> tuple[list[TrainConfig], Method, ImageStore]:
    """CropCAM with weights that find something, under boxes and normalizers."""
    pas = {"normalizer": {"name": "pas", "percentile": 60.0}}
    crop = {"name": "crop_cam", "crop_threshold": 0.6, "max_crop_area": 0.4}
    settings = settings_of(
        crop,
        {"method": {"max_crop_area": 0.0}},
        {"method": {"max_crop_area": 1.0}, "evaluation": pas},
        {"evaluation": pas},
    )
    dataset = build.dataset(settings[0].data)
    torch.manual_seed(3)
    method = build.method(settings[0], dataset.num_classes)
    return settings, method, build.images(dataset, "train_fullsup", settings[0].data)


def test_the_first_of_the_highest_values_is_best_and_undefined_ones_are_last() -> None:
    values = [math.nan, 2.0, 5.0, 5.0]
    assert best_place([{"m": value} for value in values], "m") == 2
    assert best_place([{"m": math.nan}, {"m": 1.0}], "m") == 1 and best_place([{}, {}], "m") == 0


def test_every_setting_scores_as_it_does_alone(scene: tuple[list[TrainConfig], Method, ImageStore]) -> None:
    settings, method, images = scene
    alone = []
    for setting in settings:
        other = build.trained_method(setting, method.state_dict(), method.network.num_classes)
        alone.append(evaluate(other, images, setting.evaluation))
    assert len({one["max_box_acc_v2"] for one in alone}) > 1
    best = max(range(len(alone)), key=lambda place: alone[place]["max_box_acc_v2"])
    metrics, choice = scored_best(method, images, settings, "max_box_acc_v2")
    assert metrics == pytest.approx(alone[best], rel=1e-4)
    assert choice == {SETTING: best, OWN: alone[0]["max_box_acc_v2"]}


def test_the_images_are_passed_once_and_looked_at_again_at_most_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many boxes as there are, but one pass for all first looks, and no image twice among the second ones."""
    method, batch, blocks, seen = make(crop_threshold=0.6).eval(), make_batch(), [], []
    run, activate = type(method.network.backbone)._run, method.base.activate
    monkeypatch.setattr(
        type(method.network.backbone), "_run", lambda self, *rest: blocks.append(len(rest[1])) or run(self, *rest)
    )
    monkeypatch.setattr(method.base, "activate", lambda images, *rest: seen.append(images) or activate(images, *rest))
    limits = [0.0, 0.2, 0.4, 0.7, 1.0]
    methods = [method.varied(method.config.model_copy(update={"max_crop_area": limit})) for limit in limits]
    cam = build.extractor(EvaluationConfig().extractor)
    together = extract_with([(one, cam) for one in methods], batch.images, batch.labels)
    again = [images for images in seen if images is not batch.images]
    assert len(seen) - len(again) == len(limits) and blocks[0] == len(batch.images)
    assert 1 < len(again) < len(limits) and sum(map(len, again)) <= len(batch.images)
    assert len(blocks) == 1 + len(again)
    for one, made in zip(methods, together, strict=True):
        alone = extract_together([cam], one, batch.images, batch.labels)[0]
        torch.testing.assert_close(made.maps, alone.maps, rtol=0, atol=1e-5)
        assert torch.equal(made.logits, alone.logits)


def test_methods_that_share_a_network_share_gradients_of_its_blocks() -> None:
    """Each takes a backward pass through what was recorded once."""
    method, batch = make(max_crop_area=0.1).eval(), make_batch()
    other = method.varied(method.config.model_copy(update={"max_crop_area": 1.0}))
    fields = [{"name": "grad_cam"}, {"name": "grad_cam_pp", "block": "conv2"}, {"name": "cam"}]
    extractors = [build.extractor(EvaluationConfig.model_validate({"extractor": one}).extractor) for one in fields]
    asked = [(one, extractor) for one in (method, other) for extractor in extractors]
    for (of, extractor), made in zip(asked, extract_with(asked, batch.images, batch.labels), strict=True):
        assert torch.equal(made.maps, extract_together([extractor], of, batch.images, batch.labels)[0].maps)


def test_a_method_that_cannot_be_varied_is_built_with_the_same_weights() -> None:
    """And follows them: they are shared."""
    own, other = settings_of({"name": "has", "drop_rate": 0.5}, {"method": {"drop_rate": 0.1}})
    method = build.method(own, 2)
    first, second = (pipeline.method for pipeline in pipelines(method, [own, other]))
    assert first is method and isinstance(second, HideAndSeek) and second.config.drop_rate == 0.1
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(method.parameters(), second.parameters(), strict=True))
    crop = CropCAM.varied(make(), settings_of({"name": "crop_cam", "base": {"name": "has"}})[0].method)
    assert crop is None, "another method inside has other weights"


def test_settings_with_other_weights_are_refused_in_one_line() -> None:
    own, other = settings_of({"name": "cam"}, {"method": {"name": "acol"}})
    with pytest.raises(InputError, match=r"post_hoc: the weights do not fit .*acol") as raised:
        pipelines(build.method(own, 2), [own, other])
    assert "\n" not in str(raised.value)


def test_every_epoch_counts_with_its_best_setting(tmp_path: Path) -> None:
    """Nothing else of the training changes: the weights are those of a training that is scored as configured."""
    settings = settings_of(
        {"name": "crop_cam", "crop_threshold": 0.6, "max_crop_area": 0.4},
        {"method": {"max_crop_area": 1.0}},
        {"evaluation": {"normalizer": {"name": "pas", "percentile": 40.0}}},
    )
    settings = [changed(one, "training", epochs=4) for one in settings]
    chosen = train(settings[0], tmp_path / "chosen", OBJECTIVE, settings=settings)
    alone = [train(one, tmp_path / str(place), OBJECTIVE) for place, one in enumerate(settings)]
    for epoch, record in enumerate(chosen):
        values = [history[epoch]["objective_now"] for history in alone]
        assert record["objective_now"] == max(values) == pytest.approx(record[OBJECTIVE])
        assert record[SETTING] == values.index(max(values)) and record[OWN] == values[0]
        assert record["train/loss"] == alone[0][epoch]["train/loss"]
    assert [record["objective"] for record in chosen] == [
        max(record["objective_now"] for record in chosen[: epoch + 1]) for epoch in range(4)
    ]
    assert len({record[SETTING] for record in chosen}) > 1 and SETTING not in alone[0][0]
    assert Checkpoints(tmp_path / "chosen").history == chosen


def test_an_interrupted_training_goes_on_choosing(tmp_path: Path) -> None:
    settings = settings_of({"name": "cam"}, {"evaluation": {"normalizer": {"name": "pas", "percentile": 40.0}}})

    class Stop(Exception):
        pass

    def stop(record: Record) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(settings[0], tmp_path / "parts", OBJECTIVE, stop, settings=settings)
    parts = train(settings[0], tmp_path / "parts", OBJECTIVE, settings=settings)
    whole = train(settings[0], tmp_path / "whole", OBJECTIVE, settings=settings)
    timed = ("seconds", "train/images_per_second")
    assert [{k: v for k, v in one.items() if k not in timed} for one in parts] == [
        {k: v for k, v in one.items() if k not in timed} for one in whole
    ]


def test_an_objective_that_no_setting_measures_is_refused(tmp_path: Path) -> None:
    settings = settings_of({"name": "cam"}, {"evaluation": {"normalizer": {"name": "max"}}})
    with pytest.raises(InputError, match="is not measured"):
        train(settings[0], tmp_path, "train_fullsup/pxap", settings=settings)
