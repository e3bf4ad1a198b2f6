"""What the variants `released` of the shipped search spaces resolve to gives the recorded numbers of the released
codes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.experiment.load import load_experiment
from orchestrator.runs.result import read_result
from tests.support import vectors
from tests.support.crop_cam import (
    assert_recorded,
    evaluated_images,
    evaluated_network,
    recorded_images,
    recorded_network,
)
from tests.support.da_wsol import make
from tests.support.paths import ROOT
from tests.support.published_methods import PROGRESS
from tests.support.tiny import Launch
from wsol import build, evaluation, training
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig
from wsol.contract.networks import total
from wsol.data import metadata
from wsol.data.loading import RawBatch
from wsol.data.metadata import Metadata
from wsol.datasets import imagenet
from wsol.metric import Sample
from wsol.metrics import max_box_acc_v2
from wsol.normalizers.min_max import min_max
from wsol.types import Annotation, Batch

CROP_IMAGENET = ROOT / "search_spaces" / "crop_imagenet.yaml"
CLASSES, SIDE = 5, 224
OF_THE_CASE = {
    "loss_pos": "positive_weight",
    "loss_neg": "negative_weight",
    "loss_ratio": "classification_share",
    "crop_threshold": "crop_threshold",
    "crop_ratio": "max_crop_area",
}
"""Recorded with the case -> our field. Everything else comes from the file."""


def fake_imagenet(labels: np.ndarray, boxes: np.ndarray) -> None:
    """`data/`: the same few images in every split, and on the short list; one more for training, not on the list."""
    root, sizes = Path("data/ILSVRC"), np.full((len(labels), 2), SIDE)
    for folder, split in (("train", "train"), ("val2", "val"), ("val", "test")):
        ids = [f"{folder}/{index}.JPEG" for index in range(len(labels))]
        unlisted = ["train/unlisted.JPEG"] if split == "train" else []
        for name in (*ids, *unlisted):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((SIDE, SIDE), 64).convert("RGB").save(root / name)
        place = Path("data/metadata/ILSVRC") / split
        if split == "train":
            rows = np.append(labels, 0)
            metadata.write(place, Metadata(place, (*ids, *unlisted), rows, None, None, None))
            (place / "image_ids_proxy.txt").write_text("\n".join(ids))
        else:
            metadata.write(place, Metadata(place, tuple(ids), labels, sizes, tuple(boxes[:, None]), None))


def boxes_of(maps: np.ndarray) -> np.ndarray:
    """An image's object: the part around the map's maximum that is above 0.8."""
    found = []
    for one in maps:
        _, parts, extents, _ = cv2.connectedComponentsWithStats((one > 0.8).astype(np.uint8))
        x, y, width, height, _ = extents[parts.flat[one.argmax()]]
        found.append((x, y, x + width - 1, y + height - 1))
    return np.array(found)


def score_of(maps: np.ndarray, boxes: np.ndarray) -> float:
    """MaxBoxAccV2 of maps."""
    metric = max_box_acc_v2.build(max_box_acc_v2.Config(), 0.001)
    for one, box in zip(min_max(torch.from_numpy(maps).double()).numpy(), boxes, strict=True):
        metric.update(Sample(one, Annotation((SIDE, SIDE), box[None]), 0, None, 0.001))
    return metric.compute()["max_box_acc_v2"]


def settings_of(vector: dict[str, np.ndarray]) -> list[str]:
    return [f"method.{field}={vector[name]}" for name, field in OF_THE_CASE.items()]


@pytest.fixture
def vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A recorded case of several components, and an ImageNet in `data/` whose images give way to the recorded ones
    where they would be normalised; every network is the recorded one."""
    vector = vectors.load(vectors.OWN / "crop_cam" / "case_2_minmax_union_legacy.npz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(imagenet, "CLASSES", CLASSES)
    fake_imagenet(vector["labels"], boxes_of(vector["eval_cam"]))
    images = recorded_images(vector)

    def recorded_batch(raw: RawBatch, *_: object) -> Batch:
        return Batch(images[[int(Path(name).stem) for name in raw.image_ids]], raw.labels, raw.image_ids)

    for module in (training, evaluation):
        monkeypatch.setattr(module, "to_batch", recorded_batch)
    monkeypatch.setattr(build, "network", lambda *_: recorded_network(vector))
    return vector


def test_train_gives_the_recorded_loss_maps_and_score(vector: dict[str, np.ndarray], launch: Launch) -> None:
    """At a rate that changes no weight. Of two equal epochs the last one counts."""
    words = ("variant=released", *settings_of(vector), "training.epochs=2", "optim.lr=1e-12")
    code, _, err = launch("train", str(CROP_IMAGENET), *words, "--run", "run")
    assert code == 0, err
    result = read_result(Path("run"))
    first, last = Checkpoints(Path("run/trials/0000"), TrainConfig.model_validate(result.config)).history
    share = float(vector["loss_ratio"])
    contrast = first["train/loss/positive"] + first["train/loss/negative"]
    assert_recorded(torch.tensor(first["train/loss"]), vector["total_loss"])
    assert_recorded(torch.tensor(first["train/loss/classification"] / (2 * share)), vector["classification_loss"])
    assert_recorded(torch.tensor(contrast / (2 * (1 - share))), vector["attention_loss"])

    code, _, err = launch("evaluate", "run", "--split", "train_fullsup", "--save-maps", "maps")
    assert code == 0, err
    maps = np.stack([np.load(f"maps/val2/{index}.JPEG.npy") for index in range(len(vector["labels"]))])
    assert_recorded(torch.from_numpy(maps), vector["eval_cam"])
    score = score_of(vector["eval_cam"], boxes_of(vector["eval_cam"]))
    assert last["train_fullsup/max_box_acc_v2"] == result.value == score == 100
    assert (result.epoch, result.training_images) == (2, "the images of image_ids_proxy.txt")


def test_the_loss_of_another_recorded_case() -> None:
    vector = vectors.load(vectors.OWN / "crop_cam" / "case_0_minmax_union_legacy.npz")
    config = load_experiment(CROP_IMAGENET, ["variant=released", *settings_of(vector)], ignores_search=True)
    method = build.around(config.experiment.trial.method, recorded_network(vector))
    batch = Batch(recorded_images(vector), torch.from_numpy(vector["labels"]))
    assert_recorded(total(method(batch, PROGRESS)), vector["total_loss"])


@pytest.mark.parametrize("path", vectors.files("crop_cam_evaluation", "ivr*.npz"))
def test_evaluation_with_ivr_is_the_recorded_one(path: Path) -> None:
    """Formula and percentile are the file's, each network's own."""
    vector = vectors.load(path)
    variants = {0.3: "released", 0.2: "vgg16,released", 0.4: "inception_v3,released"}
    source = {"class_map": "class"}.get(str(vector["map_source"]), str(vector["map_source"]))
    settings = [f"method.{field}={vector[field]}" for field in ("crop_threshold", "max_crop_area")]
    loaded = load_experiment(
        ROOT / "search_spaces" / "crop_ivr_imagenet.yaml",
        [f"variant={variants[float(vector['lower_percentile'])]}", f"method.map_source={source}", *settings],
        ignores_search=True,
    )
    method = build.around(loaded.experiment.trial.method, evaluated_network(vector)).eval()
    maps = min_max(method.score_maps(evaluated_images(vector), torch.from_numpy(vector["labels"])).maps)
    torch.testing.assert_close(maps[:, ::2, ::2], torch.from_numpy(vector["maps_every_second"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", vectors.files("target_sample_assignment"))
def test_da_wsol_assigns_as_recorded(path: Path) -> None:
    """Three steps, one after the other; clusters of the released code, its order of images and its anchors."""
    vector = vectors.load(path)
    words = ["variant=released", f"method.samples={vector['samples_per_set']}"]
    config = load_experiment(ROOT / "search_spaces" / "da_cub.yaml", words).experiment.trial.method
    classes, channels = vector["step0_class_centers_after"].shape
    method = make(channels, classes, **config.model_dump())
    for index in range(3):
        features, labels = (torch.from_numpy(vector[f"step{index}_{name}"]) for name in ("pixel_feature", "labels"))
        clusters = method.split(features.flatten(2).mT, [labels])[0]
        codes = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)[clusters].reshape(len(labels), *features.shape[2:])
        assert np.array_equal(codes, vector[f"step{index}_assignment_0_universum_1_source_half_target"])
