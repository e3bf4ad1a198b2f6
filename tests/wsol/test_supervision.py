"""Which images a configuration trains on, and which select it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.support.coloured_images import config_of, write_images
from wsol import build, supervision
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig
from wsol.data.dataset import Split
from wsol.data.loading import RawBatch, TrainLoader
from wsol.errors import InputError
from wsol.training import train

SIDE = 16
OBJECTIVE = "train_fullsup/max_box_acc_v2"


def boxed_images(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Black images whose boxes, one or two, are white."""
    random, pixels, boxes = np.random.default_rng(0), [], []
    for index in range(count):
        image, found = np.zeros((SIDE, SIDE, 3), np.uint8), []
        for _ in range(1 + index % 2):
            x0, y0 = random.integers(0, 9, 2)
            x1, y1 = x0 + random.integers(2, 7), y0 + random.integers(2, 7)
            image[y0 : y1 + 1, x0 : x1 + 1] = 255
            found.append([x0, y0, x1, y1])
        pixels.append(image)
        boxes.append(np.array(found))
    return pixels, boxes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with six images each in every split, of which training has none that can be read."""
    write_images(tmp_path / "photos", *boxed_images(12))
    for path in (tmp_path / "photos" / "train").iterdir():
        path.write_bytes(b"")
    return tmp_path / "photos"


def of(folder: Path, *, per_class: int | None = None, share: float = 0.8, **sections: object) -> TrainConfig:
    plain = config_of(folder, SIDE).model_dump()
    data = {**plain["data"], "image_size": 12, "fullsup_per_class": per_class}
    method = {"name": "few_shot", "train_share": share}
    return TrainConfig.model_validate({**plain, "method": method, "data": data, **sections})


LAST = {"epochs": 1, "batch_size": 3, "precision": "fp32", "checkpoint": "last"}


def splits(config: TrainConfig) -> tuple[Split, Split]:
    data = build.dataset(config.data)
    return (
        supervision.training_images(data, config).split,
        supervision.scored_split(data, "train_fullsup", config),
    )


@pytest.mark.parametrize(("per_class", "trained"), [(2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (None, 5), (100, 5)])
def test_a_share_of_each_class_trains_and_the_rest_selects(folder: Path, per_class: int | None, trained: int) -> None:
    config = of(folder, per_class=per_class)
    mine, rest = splits(config)
    assert np.bincount(mine.labels).tolist() == [trained] * 2
    assert np.bincount(rest.labels).tolist() == [min(per_class or 6, 6) - trained] * 2
    assert {mine.name, rest.name} == {"train_fullsup"} and not set(mine.image_ids) & set(rest.image_ids)
    cut = build.split(build.dataset(config.data), "train_fullsup", config.data)
    assert {*mine.image_ids, *rest.image_ids} == set(cut.image_ids), "the images that other methods are selected by"
    counts = supervision.sizes(config)
    assert (counts.train_weaksup, counts.train_fullsup, counts.test) == (len(mine), len(rest), 12)
    said = supervision.described(build.dataset(config.data), config)
    assert said == f"{len(mine)} images of train_fullsup with their boxes or masks; the other {len(rest)} select"


def test_more_images_are_the_same_ones_and_more(folder: Path) -> None:
    drawn = [set(splits(of(folder, per_class=count))[0].image_ids) for count in (2, 3, 4, 5, 6)]
    assert all(fewer < more for fewer, more in pairwise(drawn))
    shares = [set(splits(of(folder, share=share))[0].image_ids) for share in (0.2, 0.5, 0.7, 0.99)]
    assert all(fewer < more for fewer, more in pairwise(shares))
    other = of(folder).data.model_copy(update={"subset_seed": 1})
    assert {*splits(of(folder).model_copy(update={"data": other}))[0].image_ids} != drawn[-1]


@pytest.mark.parametrize("fields", [{"per_class": 1}, {"share": 1.0}])
def test_where_all_train_none_selects(folder: Path, fields: dict[str, float]) -> None:
    """They score themselves, which is said, and no epoch is chosen by that."""
    with pytest.raises(ValidationError, match=r"training\.checkpoint: last"):
        of(folder, **fields)
    config = of(folder, **fields, training=LAST)
    mine, scored = splits(config)
    assert mine.image_ids == scored.image_ids and len(mine) == (2 if "per_class" in fields else 12)
    assert "they score themselves" in supervision.described(build.dataset(config.data), config)
    assert supervision.sizes(config).train_weaksup == supervision.sizes(config).train_fullsup == len(mine)


def test_a_data_set_of_one_image_a_class_leaves_none_to_select_by(tmp_path: Path) -> None:
    write_images(tmp_path / "two", *boxed_images(2))
    with pytest.raises(InputError, match=r"none is left to choose an epoch by; set data\.fullsup_per_class: 1"):
        splits(of(tmp_path / "two"))
    assert len(splits(of(tmp_path / "two", per_class=1, training=LAST))[0]) == 2


def test_others_train_on_train_weaksup_and_are_scored_on_all(plain_colours: Path) -> None:
    config = config_of(plain_colours, SIDE)
    mine, scored = splits(config)
    assert (mine.name, scored.name, len(mine), len(scored)) == ("train_weaksup", "train_fullsup", 7, 7)
    assert supervision.described(build.dataset(config.data), config) == "all"
    assert supervision.sizes(config) == build.sizes(config.data)


def batches(config: TrainConfig) -> Iterator[RawBatch]:
    images = supervision.training_images(build.dataset(config.data), config)
    sizes = {"batch_size": 4, "image_size": 12, "resize_size": SIDE}
    loader = TrainLoader(images.split, images, **sizes, seed=0, rank=0, world=1, with_targets=True)
    return (batch for epoch in range(1, 9) for batch in loader.epoch(epoch))


def test_targets_are_cropped_and_flipped_as_their_images(folder: Path) -> None:
    """Where an image is white in its boxes, the target is 1 exactly there."""
    seen = 0
    for batch in batches(of(folder)):
        assert batch.targets is not None and batch.targets.dtype == torch.uint8
        assert torch.equal(batch.targets, (batch.images[..., 0] == 255).to(torch.uint8))
        seen += int(batch.targets.sum())
    assert seen


def test_masks_teach_where_there_are_no_boxes(tmp_path: Path) -> None:
    """With the region that evaluation ignores."""
    data = {"name": "synthetic", "root": str(tmp_path), "classes": 2, "side": 32, "image_size": 24, "resize_size": 32}
    counts = {"train_images": 1, "fullsup_images": 4, "test_images": 1}
    plain = of(tmp_path).model_dump()
    evaluation = {"metrics": [{"name": "pxap"}]}
    settings = {"data": {**data, **counts, "annotations": "masks"}, "evaluation": evaluation}
    config = TrainConfig.model_validate({**plain, **settings})
    images = supervision.training_images(build.dataset(config.data), config)
    loader = TrainLoader(
        images.split, images, batch_size=6, image_size=32, resize_size=32, seed=0, rank=0, world=1, with_targets=True
    )
    (batch,) = loader.epoch(1)
    assert batch.targets is not None and set(batch.targets.unique().tolist()) == {0, 1, 255}
    for name, target in zip(batch.image_ids, batch.targets.numpy(), strict=True):
        mask = images.split.annotation(images.split.image_ids.index(name), 32).mask
        assert np.array_equal(target, mask) or np.array_equal(target[:, ::-1], mask)


def test_training_reads_no_other_image_and_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    """The images of train_weaksup are empty files, and those of test are gone."""
    shutil.rmtree(folder / "test")
    settings = {"training": {"epochs": 4, "batch_size": 5, "precision": "fp32"}, "optim": {"lr": 0.05}}
    config = of(folder, **settings)
    through = train(config, tmp_path / "through", OBJECTIVE)
    assert len(through) == 4 and through[-1]["train/loss/saliency"] < through[0]["train/loss/saliency"]

    class Stopped(Exception):
        pass

    def stop(record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(config, tmp_path / "stopped", OBJECTIVE, report=stop)
    resumed = train(config, tmp_path / "stopped", OBJECTIVE)
    timed = ("seconds", "train/images_per_second")
    assert [{name: value for name, value in record.items() if name not in timed} for record in resumed] == [
        {name: value for name, value in record.items() if name not in timed} for record in through
    ]
    best = [Checkpoints(tmp_path / name).best for name in ("through", "stopped")]
    assert best[0] == best[1]


def test_a_method_around_it_is_refused(folder: Path) -> None:
    plain = of(folder).model_dump()
    for name in ("crop_cam", "da_wsol"):
        with pytest.raises(ValidationError, match=f"few_shot trains on boxes, which {name} around it would not see"):
            TrainConfig.model_validate({**plain, "method": {"name": name, "base": {"name": "few_shot"}}})
