"""A last batch with a single image: batch norm cannot learn from it where its map is one cell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.tiny import OBJECTIVE
from wsol import build, cost
from wsol.config import TrainConfig
from wsol.data.dataset import Sizes
from wsol.data.loading import TrainLoader, smallest_share
from wsol.errors import InputError
from wsol.training import build_loader, train

IMAGES = 14


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    """Maps of one cell."""
    return with_values(
        config,
        {"data": {"train_images": 7, "image_size": 8, "resize_size": 8}, "training": {"batch_size": 13, "epochs": 1}},
    )


def with_values(config: TrainConfig, values: dict[str, dict[str, object]]) -> TrainConfig:
    update = {section: getattr(config, section).model_copy(update=fields) for section, fields in values.items()}
    return config.model_copy(update=update)


def loader_of(config: TrainConfig) -> TrainLoader:
    dataset = build.dataset(config.data)
    return build_loader(
        build.images(dataset, "train_weaksup", config.data), build.method(config, dataset.num_classes), config
    )


def test_it_is_left_out_and_that_is_said(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = train(config, tmp_path / "run", OBJECTIVE)
    assert record["train/loss"] > 0
    said = capsys.readouterr().err
    assert "training.batch_size 13: the last batch of every epoch is left out, 1 of 14 images" in said
    loader = loader_of(config)
    seen = [[image for raw in loader.epoch(epoch) for image in raw.image_ids] for epoch in range(1, 9)]
    assert len(loader) == 1 and all(len(set(images)) == IMAGES - 1 for images in seen)
    assert set().union(*seen) == set(loader.split.image_ids)  # another one every time


@pytest.mark.parametrize(
    "values",
    [
        {"backbone": {"batch_norm": False}},
        {"data": {"train_images": 7, "image_size": 16, "resize_size": 16}},
        {"training": {"batch_size": 12}},
        {"training": {"batch_size": 7}},
        {"training": {"batch_size": 20}},
    ],
    ids=["without batch norm", "four cells", "two images", "none left", "one batch"],
)
def test_it_stays_where_it_can_be_used(
    values: dict[str, dict[str, object]], config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_values(config, values)
    loader = loader_of(config)
    assert loader.left_out == 0
    assert sum(len(raw.labels) for raw in loader.epoch(1)) == IMAGES
    train(config, tmp_path / "run", OBJECTIVE)
    assert "left out" not in capsys.readouterr().err


def test_batches_of_one_image_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    config = with_values(config, {"training": {"batch_size": 1}})
    with pytest.raises(InputError, match=r"training\.batch_size 1, 14 images and 1 workers: .*backbone\.stride"):
        train(config, tmp_path / "run", OBJECTIVE)
    with pytest.raises(InputError, match=r"training\.batch_size 1, 1 images"):
        cost.seconds(build.method(config, 2), config, Sizes(2, 14, 2, 2), workers=1, threads=1)


def test_the_smallest_share_of_a_worker() -> None:
    assert [smallest_share(14, 13, 1), smallest_share(14, 12, 1), smallest_share(14, 7, 1)] == [1, 2, 7]
    assert [smallest_share(14, 11, 2), smallest_share(14, 10, 2), smallest_share(14, 12, 3)] == [1, 2, 1]
    assert smallest_share(3, 8, 2) == 1


def test_every_worker_leaves_the_same_batch_out(config: TrainConfig) -> None:
    images = build.images(build.dataset(config.data), "train_weaksup", config.data)
    loaders = [
        TrainLoader(
            images.split, images, batch_size=11, image_size=8, resize_size=8, seed=0, rank=rank, world=2, least=2
        )
        for rank in range(2)
    ]
    assert [(len(loader), loader.left_out) for loader in loaders] == [(1, 3)] * 2
    assert [len(raw.labels) for loader in loaders for raw in loader.epoch(1)] == [6, 5]


def test_looking_for_it_changes_nothing(config: TrainConfig) -> None:
    dataset = build.dataset(config.data)
    method = build.method(config, dataset.num_classes)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    build_loader(build.images(dataset, "train_weaksup", config.data), method, config)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
