"""The loaders: training and evaluation batches."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.folders import make
from wsol.data.dataset import Split
from wsol.data.images import ImageStore
from wsol.data.loading import EvalLoader, RawBatch, TrainLoader, to_batch
from wsol.errors import InputError
from wsol.schema import DatasetConfig


def train_loader(
    split: Split, config: DatasetConfig, *, batch_size: int = 4, rank: int = 0, world: int = 1, seed: int = 5
) -> TrainLoader:
    store = ImageStore(split, config.resize_size, config)
    sizes = {"image_size": config.image_size, "resize_size": config.resize_size}
    return TrainLoader(split, store, batch_size=batch_size, seed=seed, rank=rank, world=world, **sizes)


def same(one: RawBatch, other: RawBatch) -> bool:
    return one.image_ids == other.image_ids and one.weight == other.weight and torch.equal(one.images, other.images)


def test_epochs_are_repeatable_and_differ(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("train_weaksup")
    loader = train_loader(split, config)
    first = list(loader.epoch(1))
    assert len(first) == len(loader) == 3
    assert sorted(name for batch in first for name in batch.image_ids) == sorted(split.image_ids)
    assert [batch.images.shape for batch in first] == [(4, 12, 12, 3), (4, 12, 12, 3), (3, 12, 12, 3)]
    again = train_loader(split, config.model_copy(update={"cache": "off", "workers": 1}))
    assert all(map(same, first, again.epoch(1)))
    assert not all(map(same, first, loader.epoch(2)))
    assert not all(map(same, first, train_loader(split, config, seed=6).epoch(1)))
    loaders = [loader, train_loader(split, config, seed=6)]
    orders = [[name for raw in one.epoch(epoch) for name in raw.image_ids] for one in loaders for epoch in (1, 2, 3)]
    assert all(orders.count(order) == 1 and order != list(split.image_ids) for order in orders)


def test_crops_and_flips_come_from_the_image(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("train_weaksup")
    loader, seen = train_loader(split, config), set()
    whole = dict(zip(split.image_ids, loader.store.read(range(11)), strict=True))
    for batch in itertools.chain.from_iterable(loader.epoch(epoch) for epoch in range(1, 9)):
        for name, label, crop in zip(batch.image_ids, batch.labels.tolist(), batch.images.numpy(), strict=True):
            assert label == split.labels[split.image_ids.index(name)]
            views = {
                (top, left, flip): whole[name][top : top + 12, left : left + 12][:, :: -1 if flip else 1]
                for top, left, flip in itertools.product(range(5), range(5), (False, True))
            }
            seen |= {where for where, view in views.items() if np.array_equal(view, crop)}
    tops, lefts, flips = (set(values) for values in zip(*seen, strict=True))
    assert tops == lefts == set(range(5)) and flips == {False, True}, "both ends of the range are drawn"


@pytest.mark.parametrize("world", [2, 3, 4])
def test_workers_share_the_same_global_batches(tmp_path: Path, world: int) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("train_weaksup")
    shares = [train_loader(split, config, rank=rank, world=world).epoch(3) for rank in range(world)]
    for whole, *parts in zip(train_loader(split, config).epoch(3), *shares, strict=True):
        crops = dict(zip(whole.image_ids, whole.images, strict=True))
        counted = [part for part in parts if part.weight > 0]
        assert sorted(name for part in counted for name in part.image_ids) == sorted(whole.image_ids)
        assert all(
            torch.equal(crops[name], crop)
            for part in parts
            for name, crop in zip(part.image_ids, part.images, strict=True)
        )
        mean = sum(part.weight * part.images.double().mean() for part in parts) / world
        assert mean == pytest.approx(float(whole.images.double().mean())), (
            "the mean of weighted means is the global mean"
        )


def test_worker_without_images_repeats_one_with_weight_zero(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("train_weaksup")
    *_, last = zip(
        *(train_loader(split, config, batch_size=5, rank=rank, world=3).epoch(1) for rank in range(3)), strict=True
    )
    assert [part.weight for part in last] == [3.0, 0.0, 0.0], "11 = 5 + 5 + 1"
    assert last[1].image_ids == last[2].image_ids == last[0].image_ids


def test_leaving_an_epoch_early_stops_its_threads(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    before = threading.active_count()
    loader = train_loader(dataset.split("train_weaksup"), config, batch_size=1)
    batches = loader.epoch(1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before + 1


def test_impossible_loaders(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("test")
    store = ImageStore(split, 16, config)
    with pytest.raises(InputError, match=r"data\.resize_size 16 is smaller than data\.image_size 17"):
        TrainLoader(split, store, batch_size=4, image_size=17, resize_size=16, seed=0, rank=0, world=1)
    with pytest.raises(InputError, match=r"training\.batch_size 2 .* 3 workers"):
        TrainLoader(split, store, batch_size=2, image_size=12, resize_size=16, seed=0, rank=0, world=3)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_every_image_once(tmp_path: Path, world: int) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("train_fullsup")
    store = ImageStore(split, 12, config)
    seen = []
    for rank in range(world):
        loader = EvalLoader(split, store, batch_size=2, rank=rank, world=world)
        batches = list(loader)
        assert len(batches) == len(loader)
        positions = [position for _, part in batches for position in part]
        assert positions == list(range(rank, 5, world))
        for raw, part in batches:
            assert raw.image_ids == tuple(split.image_ids[position] for position in part)
            assert raw.labels.tolist() == split.labels[part].tolist() and raw.weight == 1.0
            np.testing.assert_array_equal(raw.images.numpy(), np.stack(store.read(part)))
        seen += positions
    assert sorted(seen) == list(range(5))


def test_batches_are_normalised(tmp_path: Path) -> None:
    raw = RawBatch(torch.randint(0, 256, (2, 5, 5, 3), dtype=torch.uint8), torch.tensor([1, 0]), ("a", "b"))
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    batch = to_batch(raw, torch.device("cpu"), mean, std)
    expected = (raw.images.permute(0, 3, 1, 2).float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(
        std
    ).view(3, 1, 1)
    torch.testing.assert_close(batch.images, expected)
    assert batch.images.dtype == torch.float32 and batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.image_ids == ("a", "b") and batch.labels.tolist() == [1, 0]
