"""Predictions on image files: the boxes that evaluation counts, in pixels of the photo, whatever the files are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.coloured_images import config_of, write_images
from wsol import build
from wsol.config import EvaluationConfig, TrainConfig
from wsol.data.dataset import Split
from wsol.data.images import ImageStore
from wsol.evaluation import evaluate, localize
from wsol.method import Method
from wsol.ops.boxes import Contours, iou, resize_boxes
from wsol.prediction import BoxRule, Evidence, Failed, Prediction, box_rule, predict_photos, read_photos

SIDE = 32
SIZES = [(48, 40), (33, 90), (32, 32), (20, 64), (200, 17), (64, 50), (40, 48), (77, 61), (52, 35), (36, 36), (90, 31)]
"""Some are smaller than the grid in one direction."""
METRICS = ("max_box_acc_v2", "max_box_acc", "top1")
RULE = BoxRule(0.3, "all")


def noise(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Images of bright and dark patches, so that maps differ."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (4, 4, 3)).astype(np.uint8) for _ in sizes]
    return [np.asarray(Image.fromarray(one).resize(size)) for one, size in zip(coarse, sizes, strict=True)]


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """Of a data set of photos of several sizes, each with one box in the middle."""
    boxes = [np.array([[w // 4, h // 4, 3 * w // 4, 3 * h // 4]]) for w, h in SIZES]
    write_images(tmp_path / "photos", noise(SIZES), boxes)
    evaluation = {"metrics": [{"name": name} for name in METRICS], "batch_size": 3, "threshold_step": 0.01}
    return config_of(tmp_path / "photos", SIDE, evaluation=evaluation)


@pytest.fixture
def method(config: TrainConfig) -> Method:
    """Random weights that find half of the photos in either class."""
    torch.manual_seed(7)
    built = build.method(config, 2)
    images = build.images(build.dataset(config.data), "train_fullsup", config.data)
    logits = np.stack([sample.logits for sample in localize(built, images, config.evaluation)])  # type: ignore[misc]
    with torch.no_grad():
        built.network.head.linear.bias[0] += float(np.median(logits[:, 1] - logits[:, 0])) + 1e-4  # type: ignore[index, operator, union-attr]
    return built


def names(count: int = len(SIZES)) -> list[str]:
    return [f"val/{index}.png" for index in range(count)]


def look(
    method: Method, folder: Path, files: list[str], evaluation: EvaluationConfig, rule: BoxRule = RULE
) -> tuple[list[Prediction | Failed], list[Evidence]]:
    """What is predicted, and from what, in the order of the files."""
    seen: dict[str, Evidence] = {}

    def keep(evidence: Evidence) -> Prediction:
        seen[evidence.prediction.name] = evidence
        return evidence.prediction

    photos = read_photos(files, folder, SIDE, threads=2, ahead=4)
    found = list(predict_photos(method, photos, evaluation, rule, keep))
    return found, [seen[one.name] for one in found if isinstance(one, Prediction)]


def labelled(config: TrainConfig, labels: list[int]) -> ImageStore:
    """The images of train_fullsup with other labels."""
    split = build.dataset(config.data).split("train_fullsup")
    data = replace(split.metadata, labels=np.array(labels))
    relabelled = Split(split.name, data, split.image_root, split.mask_root, split.key, displayed=split.displayed)
    return ImageStore(relabelled, SIDE, config.data)


@pytest.mark.parametrize(("extractor", "interpolation"), [("cam", "bicubic"), ("grad_cam", "bilinear")])
@pytest.mark.parametrize("objective", ["max_box_acc_v2", "max_box_acc", "gt_known/loc"])
def test_boxes_are_those_that_evaluation_counts(
    objective: str, extractor: str, interpolation: str, config: TrainConfig, method: Method, tmp_path: Path
) -> None:
    asked = {"extractor": {"name": extractor}, "interpolation": interpolation}
    evaluation = EvaluationConfig.model_validate({**config.evaluation.model_dump(), **asked})
    first, _ = look(method, tmp_path / "photos", names(), evaluation)
    labels = [one.label for one in first if isinstance(one, Prediction)]
    assert set(labels) == {0, 1}
    images = labelled(config, labels)
    scores = evaluate(method, images, evaluation)
    rule = box_rule(build.metrics(evaluation), objective, scores)
    assert rule is not None
    found, evidence = look(method, tmp_path / "photos", names(), evaluation, rule)
    right = []
    for sample, one in zip(localize(method, images, evaluation), evidence, strict=True):
        assert np.array_equal(sample.score_map, one.score_map)
        level = int(rule.threshold * sample.level_boxes.peak)
        counted = sample.level_boxes.at(level) if rule.contours == "all" else sample.level_boxes.largest[[level]]
        assert sorted(map(tuple, one.grid_boxes)) == sorted(set(map(tuple, counted)))
        right.append(iou(one.grid_boxes, sample.grid_boxes).max() >= 0.5)
    key = objective if objective == "gt_known/loc" else f"{objective}/iou_50"
    assert 100 * sum(right) / len(right) == scores[key] and 0 < scores[key] < 100
    for one, size in zip(found, SIZES, strict=True):
        assert isinstance(one, Prediction) and one.size == size


def test_boxes_in_pixels_of_the_photo_are_those_of_the_grid(
    config: TrainConfig, method: Method, tmp_path: Path
) -> None:
    _, evidence = look(method, tmp_path / "photos", names(), config.evaluation)
    large = [one for one in evidence if min(one.prediction.size) >= SIDE]
    assert len(large) == 8
    for one in large:
        back = resize_boxes(one.prediction.boxes, one.prediction.size, (SIDE, SIDE))
        assert np.array_equal(back, one.grid_boxes)


def test_the_predicted_class_is_the_one_of_the_map(config: TrainConfig, method: Method, tmp_path: Path) -> None:
    found, evidence = look(method, tmp_path / "photos", names(), config.evaluation)
    for label in (0, 1):
        samples = list(localize(method, labelled(config, [label] * len(SIZES)), config.evaluation))
        for sample, one, seen in zip(samples, found, evidence, strict=True):
            assert isinstance(one, Prediction) and sample.logits is not None
            assert one.label == sample.logits.argmax()
            assert np.array_equal(sample.score_map, seen.score_map) == (one.label == label)
            shares = np.exp(sample.logits.astype(float))
            assert one.probability == pytest.approx((shares / shares.sum()).max(), abs=1e-12)


@pytest.mark.parametrize("extractor", ["cam", "grad_cam", "layer_cam"])
def test_class_and_map_come_from_one_pass(extractor: str, config: TrainConfig, method: Method, tmp_path: Path) -> None:
    passes: list[int] = []
    first = next(iter(method.network.backbone.blocks.values()))
    first.register_forward_hook(lambda module, given, made: passes.append(len(made)))
    evaluation = EvaluationConfig.model_validate({"extractor": {"name": extractor}, "batch_size": 4})
    look(method, tmp_path / "photos", names(), evaluation)
    assert passes == [4, 4, 3]
    assert method.training, "the mode that it had"


def test_files_that_cannot_be_read_are_passed_on_in_order(config: TrainConfig, method: Method, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "val/0.png").read_bytes()[:60])
    files = ["text.jpg", "val/0.png", "gone.png", "val/1.png", "cut.png", "text.jpg", "gone.png", "val/2.png"]
    for batch_size in (1, 3, 100):
        evaluation = config.evaluation.model_copy(update={"batch_size": batch_size})
        found, _ = look(method, folder, files, evaluation)
        assert [one.name for one in found] == files
        assert [isinstance(one, Failed) for one in found] == [True, False, True, False, True, True, True, False]
        reasons = [one.reason for one in found if isinstance(one, Failed)]
        assert reasons[0] == "cannot be decoded (it is no image, or damaged at its beginning)"
        assert reasons[1] == "no such file"


def test_photos_are_seen_as_displayed(config: TrainConfig, method: Method, tmp_path: Path) -> None:
    pixels, exif = noise([(64, 40)])[0], Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "turned.png", exif=exif)
    found, _ = look(method, tmp_path, ["upright.png", "turned.png"], config.evaluation)
    upright, turned = found
    assert isinstance(upright, Prediction) and upright == replace(turned, name="upright.png")  # type: ignore[type-var]
    assert upright.size == (64, 40)


def test_a_map_that_is_all_zero_has_no_box(config: TrainConfig, method: Method, tmp_path: Path) -> None:
    with torch.no_grad():
        method.network.head.linear.weight.zero_()  # type: ignore[union-attr]
    found, evidence = look(method, tmp_path / "photos", names(2), config.evaluation)
    assert [one.boxes for one in found if isinstance(one, Prediction)] == [[], []]
    assert not evidence[0].score_map.any() and found[0].probability == pytest.approx(0.5, abs=0.1)  # type: ignore[union-attr]


def test_files_are_read_no_further_than_needed(config: TrainConfig, method: Method, tmp_path: Path) -> None:
    asked: list[str] = []

    def endless() -> Iterator[str]:
        while True:
            asked.append("val/0.png")
            yield asked[-1]

    photos = read_photos(endless(), tmp_path / "photos", SIDE, threads=2, ahead=6)
    stream = predict_photos(method, photos, config.evaluation, RULE, lambda evidence: evidence.prediction)
    most = []
    for _ in range(200):
        next(stream)
        most.append(len(asked))
    waiting = [now - done for done, now in enumerate(most, start=1)]
    assert max(waiting) <= 6 + 3 * config.evaluation.batch_size + 8 * (4 * torch.get_num_threads() + 2)


CHOSEN = {
    "max_box_acc_v2/threshold_30": 0.3,
    "max_box_acc_v2/threshold_50": 0.2,
    "max_box_acc_v2/threshold_70": 0.1,
    "max_box_acc/threshold_50": 0.25,
    "top1/loc_threshold": 0.4,
    "top5/loc_threshold": 0.45,
    "gt_known/loc_threshold": 0.5,
    "max_box_acc_by_size/threshold_50": 0.6,
    "piou/threshold": 0.7,
}
ALL = ["pxap", "max_box_acc_v2", "max_box_acc", "top1", "max_box_acc_by_size", "piou", "fixed_box_acc"]


@pytest.mark.parametrize(
    ("metrics", "objective", "expected"),
    [
        (ALL, "max_box_acc_v2", (0.2, "all", "max_box_acc_v2/iou_50")),
        (ALL, "max_box_acc_v2/iou_70", (0.1, "all", "max_box_acc_v2/iou_70")),
        (ALL, "max_box_acc", (0.25, "largest", "max_box_acc/iou_50")),
        (ALL, "max_box_acc/iou_30", (0.25, "largest", "max_box_acc/iou_50")),
        (ALL, "top1", (0.4, "largest", "top1/loc")),
        (ALL, "top5/loc", (0.45, "largest", "top5/loc")),
        (ALL, "gt_known/loc", (0.5, "largest", "gt_known/loc")),
        (ALL, "max_box_acc_by_size/small", (0.6, "all", "max_box_acc_by_size")),
        (ALL, "piou", (0.7, "largest", "piou")),
        (ALL, "fixed_box_acc", (0.2, "largest", "fixed_box_acc/gt_known_20")),
        (ALL, "pxap", (0.2, "all", "max_box_acc_v2/iou_50")),
        (["pxap", "piou"], "pxap", (0.7, "largest", "piou")),
        (["pxap"], "pxap", None),
    ],
)
def test_the_objective_s_metric_decides_where_boxes_are(
    metrics: list[str], objective: str, expected: tuple[float, Contours, str] | None
) -> None:
    evaluation = EvaluationConfig.model_validate({"metrics": [{"name": name} for name in metrics]})
    built = build.metrics(evaluation)
    assert box_rule(built, objective, CHOSEN) == (None if expected is None else BoxRule(*expected))
    given = box_rule(built, objective, {}, threshold=0.35)
    assert given == BoxRule(0.35, "largest" if expected is None else expected[1])


def test_a_threshold_that_is_not_on_record_is_not_guessed() -> None:
    evaluation = EvaluationConfig.model_validate({"metrics": [{"name": name} for name in METRICS]})
    assert box_rule(build.metrics(evaluation), "max_box_acc_v2", {"max_box_acc_v2": 50.0}) is None


def test_every_threshold_is_of_a_number_that_its_metric_reports(config: TrainConfig, method: Method) -> None:
    evaluation = EvaluationConfig.model_validate(
        {"metrics": [{"name": name} for name in (*METRICS, "max_box_acc_by_size", "fixed_box_acc")]}
    )
    reported = evaluate(method, build.images(build.dataset(config.data), "train_fullsup", config.data), evaluation)
    known = {
        key: value for metric in build.metrics(evaluation) for key, value in metric.box_thresholds(reported).items()
    }
    assert len(known) == 11 and known.keys() <= reported.keys()
    assert set(known.values()) <= {0.2, *reported.values()}
