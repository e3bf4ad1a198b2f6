"""Splits, annotations, the image store with its cache, and the loaders."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.folders import SIZE, make
from wsol.data import dataset
from wsol.data.dataset import SPLIT_FOLDERS, Dataset, Split
from wsol.data.images import ImageStore
from wsol.data.loading import EvalLoader, RawBatch, TrainLoader, to_batch
from wsol.data.metadata import Metadata
from wsol.data.tree import check_tree
from wsol.errors import InputError
from wsol.schema import DatasetConfig


def train_loader(
    split: Split, config: DatasetConfig, *, batch_size: int = 4, rank: int = 0, world: int = 1, seed: int = 5
) -> TrainLoader:
    store = ImageStore(split, config.resize_size, config)
    sizes = {"image_size": config.image_size, "resize_size": config.resize_size}
    return TrainLoader(split, store, batch_size=batch_size, seed=seed, rank=rank, world=world, **sizes)


# ---------------------------------------------------------------- splits


def test_splits_have_our_names_and_the_published_folders(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path)
    assert {name: len(dataset.split(name)) for name in SPLIT_FOLDERS} == {
        "train_weaksup": 11,
        "train_fullsup": 5,
        "test": 4,
    }
    split = dataset.split("test")
    assert split.image_path(1) == tmp_path / "toy" / "test" / "1.png"
    annotation = split.annotation(2, grid=12)
    assert annotation.image_size == SIZE and annotation.boxes.tolist() == [[1, 2, 5, 4]] and annotation.mask is None


def test_missing_trees_name_the_command(tmp_path: Path) -> None:
    config = DatasetConfig(name="toy", root=str(tmp_path))
    dataset = Dataset(config, images=tmp_path / "no", metadata=tmp_path, class_names=["a"])
    with pytest.raises(InputError, match=re.escape(f"run `python launch.py data prepare toy --root {tmp_path}`")):
        dataset.split("test")
    (tmp_path / "test").mkdir()
    with pytest.raises(InputError, match="should hold the images of toy"):
        dataset.split("test")
    with pytest.raises(InputError, match="unknown split 'val'; there are train_weaksup"):
        dataset.split("val")


def test_training_split_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train_weaksup was read without boxes"):
        make(tmp_path)[0].split("train_weaksup").annotation(0, 12)


def test_subset_is_fixed_balanced_nested_and_in_order(tmp_path: Path) -> None:
    split = make(tmp_path)[0].split("train_weaksup")
    two, three = split.subset(2, seed=1), split.subset(3, seed=1)
    assert two.image_ids == split.subset(2, seed=1).image_ids
    assert np.bincount(two.labels).tolist() == [2, 2, 2]
    assert set(two.image_ids) < set(three.image_ids)
    assert list(two.image_ids) == [name for name in split.image_ids if name in two.image_ids]
    assert [split.labels[split.image_ids.index(name)] for name in two.image_ids] == two.labels.tolist()
    assert any(split.subset(2, seed=seed).image_ids != two.image_ids for seed in range(2, 6))
    assert two.key != three.key != split.key


def test_subset_takes_what_there_is(tmp_path: Path) -> None:
    split = make(tmp_path)[0].split("train_fullsup")
    everything = split.subset(99, seed=0)
    assert everything.image_ids == split.image_ids
    assert [everything.annotation(i, 12).boxes.tolist() for i in range(5)] == [
        split.annotation(i, 12).boxes.tolist() for i in range(5)
    ]


# ---------------------------------------------------------------- masks


def mask_split(root: Path, masks: list[Image.Image], ignore: Image.Image) -> Split:
    for index, image in enumerate(masks):
        image.save(root / f"m{index}.png")
    ignore.save(root / "ignore.png")
    rows = ((tuple(f"m{index}.png" for index in range(len(masks))), "ignore.png"),)
    return Split("test", Metadata(root, ("x.png",), np.zeros(1, np.int64), None, None, rows), root, root, "x")


def grey(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8))


def test_mask_is_picked_at_floor_of_the_scaled_index(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for height, width, grid in ((7, 5, 4), (3, 10, 6), (224, 37, 224), (9, 9, 9)):
        pixels = (random.random((height, width)) < 0.4) * 255
        annotation = mask_split(tmp_path, [grey(pixels)], grey(np.zeros((2, 2)))).annotation(0, grid)
        expected = [
            [int(pixels[row * height // grid, column * width // grid] > 0) for column in range(grid)]
            for row in range(grid)
        ]
        assert (
            annotation.mask is not None and annotation.mask.dtype == np.uint8 and annotation.mask.tolist() == expected
        )
        assert annotation.boxes.shape == (0, 4) and annotation.image_size == (0, 0)


def test_mask_is_picked_as_opencv_picks() -> None:
    differ = []
    for side in (1, 2, 36, 223, 224, 225, 300, 768, 1024, 1063, 1600):
        line = np.arange(side, dtype=np.float64)[None]
        picked = cv2.resize(line, (224, 1), interpolation=cv2.INTER_NEAREST)[0]
        np.testing.assert_array_equal(dataset._nearest(side, 224), picked)
        differ += [side] if (picked != np.arange(224) * side // 224).any() else []
    assert differ == [36, 300, 1600], "sides where OpenCV rounds an integer index down by one"


def test_instances_are_united_and_win_over_the_ignored_region(tmp_path: Path) -> None:
    first, second, ignore = (
        np.zeros((4, 4)),
        np.zeros((8, 8)),
        np.zeros((4, 4)),
    )  # files of one image may differ in size
    first[0, 0], second[6:, 6:], ignore[0, :2] = 255, 255, 255
    mask = mask_split(tmp_path, [grey(first), grey(second)], grey(ignore)).annotation(0, 4).mask
    assert mask is not None and mask.tolist() == [[1, 255, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_masks_of_every_png_kind_read_alike(tmp_path: Path) -> None:
    values = np.array([[0, 255], [255, 0]])
    color = np.stack([values] * 3, axis=2)
    transparent = np.concatenate([color, np.zeros((2, 2, 1))], axis=2)  # alpha does not count
    palette = grey(values > 0)
    palette = Image.frombytes("P", palette.size, palette.tobytes())
    palette.putpalette([0, 0, 0, 255, 255, 255])
    for image in (grey(values), grey(values).convert("1"), grey(color), grey(transparent), palette):
        mask = mask_split(tmp_path, [image], grey(np.zeros((2, 2)))).annotation(0, 2).mask
        assert mask is not None and mask.tolist() == [[0, 1], [1, 0]], image.mode


def test_smallest_grey_value_counts(tmp_path: Path) -> None:
    mask = mask_split(tmp_path, [grey(np.array([[0, 1]]))], grey(np.zeros((1, 1)))).annotation(0, 2).mask
    assert mask is not None and mask.tolist() == [[0, 1], [0, 1]]


def test_missing_mask_is_named(tmp_path: Path) -> None:
    split = mask_split(tmp_path, [grey(np.zeros((2, 2)))], grey(np.zeros((2, 2))))
    (tmp_path / "m0.png").unlink()
    with pytest.raises(InputError, match=r"m0\.png: no such mask"):
        split.annotation(0, 2)


# ---------------------------------------------------------------- the store


def files(root: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in (root / ".cache").glob(pattern))


@pytest.mark.parametrize("cache", ["on", "auto", "off"])
def test_store_gives_pil_bilinear_pixels(tmp_path: Path, cache: str) -> None:
    dataset, config = make(tmp_path, cache=cache)
    split = dataset.split("test")
    store = ImageStore(split, 9, config)
    assert store.cached == (cache != "off") and len(store) == 4
    for position, image in zip((3, 0, 3), store.read([3, 0, 3]), strict=True):
        with Image.open(split.image_path(position)) as opened:
            np.testing.assert_array_equal(
                image, np.asarray(opened.convert("RGB").resize((9, 9), Image.Resampling.BILINEAR))
            )


def test_cache_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, config = make(tmp_path)
    ImageStore(dataset.split("test"), 9, config)
    monkeypatch.setattr("wsol.data.images._decode", lambda *_: pytest.fail("decoded again"))
    assert ImageStore(dataset.split("test"), 9, config).read([0])[0].shape == (9, 9, 3)
    assert len(files(tmp_path, "toy-test-9-*.uint8")) == 1 and not files(tmp_path, "*.tmp")


def test_changed_image_gives_a_new_cache_and_drops_the_old_one(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("test")
    ImageStore(split, 9, config)
    ImageStore(split, 10, config)
    ImageStore(split.subset(1, 0), 9, config)
    before = files(tmp_path, "*.uint8")
    Image.new("RGB", SIZE, (1, 2, 3)).save(split.image_path(0))
    os.utime(split.image_path(0), ns=(1, 1))
    store = ImageStore(split, 9, config)
    assert store.read([0])[0][0, 0].tolist() == [1, 2, 3]
    after = files(tmp_path, "*.uint8")
    assert len(before) == len(after) == 3, "other sizes and subsets stay"
    assert len(set(before) & set(after)) == 2


def test_cache_too_large_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wsol.data.images.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1900}))
    dataset, config = make(tmp_path)
    store = ImageStore(dataset.split("test"), 9, config)  # 4 * 9 * 9 * 3 = 972 bytes are more than half of 1900
    assert not store.cached and not files(tmp_path, "*.uint8")
    assert "toy-test-9: images are decoded at every use" in capsys.readouterr().err
    assert store.read([0])[0].shape == (9, 9, 3)


def test_cache_on_that_cannot_be_written(tmp_path: Path) -> None:
    dataset, config = make(tmp_path, cache="on")
    (tmp_path / ".cache").write_text("a file in the way")
    with pytest.raises(InputError, match="the cache of decoded images cannot be used"):
        ImageStore(dataset.split("test"), 9, config)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_damaged_image_is_named(tmp_path: Path, cache: str) -> None:
    dataset, config = make(tmp_path, cache=cache)
    split = dataset.split("test")
    split.image_path(2).write_bytes(split.image_path(2).read_bytes()[:60])
    with pytest.raises(InputError, match=r"test/2\.png: cannot be decoded"):
        ImageStore(split, 9, config).read([2])
    assert not (tmp_path / ".cache").exists() or not files(tmp_path, "*.uint8") + files(tmp_path, "*.tmp")


@pytest.mark.parametrize("cache", ["on", "off"])
def test_missing_image_is_named(tmp_path: Path, cache: str) -> None:
    dataset, config = make(tmp_path, cache=cache)
    split = dataset.split("test")
    split.image_path(1).unlink()
    with pytest.raises(InputError, match=r"test/1\.png.*image_ids\.txt lists it"):
        ImageStore(split, 9, config).read([1])


def test_two_processes_build_one_cache(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split, context = dataset.split("train_weaksup"), multiprocessing.get_context("fork")
    start, answers = context.Barrier(2), context.Queue()

    def open_store() -> None:
        start.wait()
        store = ImageStore(split, 16, config)
        answers.put((store.cached, sum(int(image.sum()) for image in store.read(range(11)))))

    processes = [context.Process(target=open_store) for _ in range(2)]
    for process in processes:
        process.start()
    pixels = ImageStore(split, 16, config.model_copy(update={"cache": "off"})).read(range(11))
    expected = (True, sum(int(image.sum()) for image in pixels))
    assert [answers.get(timeout=60) for _ in processes] == [expected, expected]
    for process in processes:
        process.join()
    assert len(files(tmp_path, "*.uint8")) == 1


def test_threads_of_one_process_build_one_cache(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split, stores = dataset.split("train_weaksup"), []
    threads = [threading.Thread(target=lambda: stores.append(ImageStore(split, 16, config))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.cached for store in stores] == [True] * 4 and len(files(tmp_path, "*.uint8")) == 1


def test_long_builds_show_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wsol.pace.SECONDS_BETWEEN_LINES", -1.0)
    dataset, config = make(tmp_path)
    ImageStore(dataset.split("test"), 9, config)
    assert "decoding toy-test-9: 2 of 4 images" in capsys.readouterr().err


# ---------------------------------------------------------------- training batches


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


# ---------------------------------------------------------------- evaluation batches


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


# ---------------------------------------------------------------- verification


def test_check_counts(tmp_path: Path) -> None:
    lines: list[str] = []
    counts = check_tree(make(tmp_path)[0], lines.append)
    assert counts["train_fullsup"] == {"images": 5, "classes": 3, "boxes": 5, "masks": 0}
    assert lines[0].startswith("toy train_weaksup: 11 images, 3 classes")


def test_check_finds_missing_files_and_wrong_sizes(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path)
    (tmp_path / "toy" / "val" / "0.png").unlink()
    Image.new("RGB", (21, 16)).save(tmp_path / "toy" / "val" / "1.png")
    (tmp_path / "toy" / "test" / "0.png").write_text("no image")
    with pytest.raises(InputError) as caught:
        check_tree(dataset, lambda line: None)
    message = str(caught.value)
    assert message.startswith("toy: the data set is not complete; run `python launch.py data prepare toy")
    assert (
        "train_fullsup: files of 1 of 5 images are missing:" in message
        and "train_fullsup: files of 1 of 5 images are damaged" in message
    )
    assert "val/0.png: no such file" in message
    assert "val/1.png: has 21 x 16 pixels, image_sizes.txt says 20 x 16" in message
    assert "test/0.png: cannot be read" in message


def test_check_shows_some_problems_and_counts_the_rest(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path)
    for path in (tmp_path / "toy" / "train").iterdir():
        path.unlink()
    with pytest.raises(
        InputError, match=r"train_weaksup: files of 11 of 11 images are missing:(?s:.*)\.\.\. and 8 more$"
    ):
        check_tree(dataset, lambda line: None)


def test_check_finds_an_image_in_two_splits(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path)
    for name in ("class_labels.txt", "image_sizes.txt", "localization.txt", "image_ids.txt"):
        lines = tmp_path.joinpath("toy", "metadata", "test", name).read_text()
        tmp_path.joinpath("toy", "metadata", "val", name).write_text(lines)
    with pytest.raises(InputError, match=r"test/0\.png: is in train_fullsup and in test"):
        check_tree(dataset, lambda line: None)
