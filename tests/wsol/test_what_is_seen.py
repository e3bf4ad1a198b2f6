"""What lies between the formulas and the numbers: the order of evaluation, and the pixels that a network sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import vectors
from tests.support.coloured_images import COLOURS, IMAGENET, config_of, write_images
from tests.support.tiny import OBJECTIVE
from wsol import build, plugins, training
from wsol.config import TrainConfig
from wsol.contract import networks as small_networks
from wsol.data.images import ImageStore
from wsol.evaluation import Counts, evaluate
from wsol.method import Method
from wsol.metric import Sample
from wsol.scoring import score, score_files
from wsol.types import Annotation, Batch, Progress, ScoreMaps


class Recorded(Method):
    """Its maps are recorded ones, in the order of the images."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__(small_networks.random_network("tiny"))
        self.left = list(maps)

    def score_maps(self, images: Tensor, labels: Tensor) -> ScoreMaps:
        taken, self.left = self.left[: len(images)], self.left[len(images) :]
        return ScoreMaps(torch.stack(taken), torch.zeros(len(images), 4))


@pytest.fixture(params=vectors.files("box_accuracy"))
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, np.ndarray], TrainConfig, ImageStore]:
    """A recorded evaluation and images of the recorded sizes, with the recorded boxes."""
    case = vectors.load(request.param)
    boxes = np.split(case["gt_boxes_original"], np.cumsum(case["gt_counts"])[:-1])
    pixels = [np.zeros((height, width, 3), np.uint8) for width, height in case["image_sizes_wh"].tolist()]
    write_images(tmp_path / "recorded", pixels, boxes)
    name = "max_box_acc_v2" if "multi_contour_True" in request.param.stem else "max_box_acc"
    evaluation = {"metrics": [{"name": name}], "batch_size": 3}
    config = config_of(tmp_path / "recorded", 224, evaluation=evaluation)
    return case, config, build.images(build.dataset(config.data), "train_fullsup", config.data)


def test_recorded_maps_through_evaluation_itself(
    recorded: tuple[dict[str, np.ndarray], TrainConfig, ImageStore], tmp_path: Path
) -> None:
    case, config, images = recorded
    maps, evaluation = torch.from_numpy(case["cams_28"]), config.evaluation
    name = evaluation.metrics[0].name
    found = evaluate(Recorded(maps), images, evaluation)
    expected = pytest.approx(case["max_box_acc_30_50_70"].tolist(), abs=1e-9)
    assert [found[f"{name}/iou_{level}"] for level in (30, 50, 70)] == expected
    scored = score(Recorded(maps), images, evaluation, save_to=tmp_path / "maps")
    files = score_files(tmp_path / "maps", images.split, images.size, evaluation)
    for scores in (scored, files):
        assert [scores.metrics[f"{name}/iou_{level}"] for level in (30, 50, 70)] == expected


def test_negative_evidence_is_kept_until_the_map_is_normalised(
    recorded: tuple[dict[str, np.ndarray], TrainConfig, ImageStore],
) -> None:
    """Raising a map by a number changes nothing: both are whole 64ths, so float32 holds them exactly."""
    case, config, images = recorded
    maps = torch.randint(-64, 64, case["cams_28"].shape, generator=torch.Generator().manual_seed(0)) / 64
    first, raised = (evaluate(Recorded(each), images, config.evaluation) for each in (maps, maps + 8))
    assert first == raised and first["degenerate_maps"] == 0


class Watching(Method):
    """Keeps the batches that it is trained and evaluated with, and what the loss was made of."""

    def __init__(self, base: Method) -> None:
        super().__init__(base.network)
        self.batches: list[Tensor] = []
        self.seen: list[Tensor] = []

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        self.batches.append(batch.images)
        return super().forward(batch, progress)

    def score_maps(self, images: Tensor, labels: Tensor) -> ScoreMaps:
        self.seen.append(images)
        return super().score_maps(images, labels)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Watching]:
    """The methods that are trained from now on."""
    made: list[Watching] = []
    build_method = build.method

    def watching(config: TrainConfig, num_classes: int) -> Watching:
        made.append(Watching(build_method(config, num_classes)))
        return made[-1]

    monkeypatch.setattr(build, "method", watching)
    return made


def test_a_network_sees_normalised_red_green_and_blue(
    plain_colours: Path, watched: list[Watching], tmp_path: Path
) -> None:
    training.train(config_of(plain_colours, 16), tmp_path / "run", OBJECTIVE)
    (method,) = watched
    mean, std = (torch.tensor(values) for values in IMAGENET)
    expected = (torch.tensor(COLOURS) / 255 - mean) / std
    evaluated = torch.cat(method.seen)
    torch.testing.assert_close(evaluated, expected[:, :, None, None].expand(-1, -1, 16, 16), rtol=0, atol=1e-6)
    trained = torch.cat(method.batches)
    torch.testing.assert_close(trained[..., 0, 0].sort(dim=0).values, expected.sort(dim=0).values, rtol=0, atol=1e-6)
    assert torch.equal(trained, trained[:, :, :1, :1].expand_as(trained))


def test_all_that_is_counted_is_summed_over_the_workers(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were three that counted the same: one map of zeros, one with an object."""
    counts, box = Counts(config.evaluation), Annotation((32, 32), np.array([[4, 4, 20, 20]]))
    found = np.zeros((32, 32))
    found[4:20, 4:20] = 1
    for score_map, logits in ((found, np.array([2.0, 1.0])), (found * 0, None)):
        counts.update(Sample(score_map, box, 0, logits, config.evaluation.threshold_step))
    alone = counts.compute({})
    twice = Counts(config.evaluation)
    for _ in range(2):
        twice.merge(counts)
    assert twice.compute({}) == {**alone, "degenerate_maps": 2}
    monkeypatch.setattr("wsol.evaluation.distributed.sum_over_workers", lambda values: values * 3)
    together = counts.over_workers().compute({})
    assert alone["degenerate_maps"] == 1 and alone["max_box_acc_v2"] == 50
    assert together == {**alone, "degenerate_maps": 3}


def test_training_reads_images_before_the_crop_and_evaluation_those_of_the_grid(config: TrainConfig) -> None:
    dataset = build.dataset(config.data)
    sizes = {name: build.images(dataset, name, config.data).size for name in ("train_weaksup", "train_fullsup", "test")}
    assert sizes == {"train_weaksup": 36, "train_fullsup": 32, "test": 32}


@pytest.mark.parametrize(
    ("name", "fields", "mean", "std"),
    [
        ("vgg16", {}, *IMAGENET),
        ("resnet50", {}, *IMAGENET),
        ("inception_v3", {}, *IMAGENET),
        ("inception_v3", {"pixels": "unit"}, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("efficientnet_lite0", {}, (127 / 255,) * 3, (128 / 255,) * 3),
        ("tiny", {}, *IMAGENET),
    ],
)
def test_pixels_of_every_backbone(
    name: str, fields: dict[str, str], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    plugin = plugins.load("backbone", name)
    backbone = plugin.build(plugin.Config(name=name, weights="none", **fields))
    assert (backbone.pixel_mean, backbone.pixel_std) == (mean, std)
