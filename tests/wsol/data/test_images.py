"""The image store and its cache."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.folders import SIZE, make
from wsol.data.images import ImageStore
from wsol.errors import InputError


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


def test_an_image_in_place_of_one_of_the_same_bytes_is_seen_by_its_time(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split = dataset.split("test")
    path = split.image_path(0)
    for value in (10, 20):
        Image.new("RGB", SIZE, (value,) * 3).save(path, format="BMP")
        os.utime(path, ns=(value, value))
        length = path.stat().st_size
        assert ImageStore(split, 9, config).read([0])[0][0, 0].tolist() == [value] * 3
    assert length == 54 + SIZE[0] * SIZE[1] * 3, "both images have as many bytes"


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
    start, answers = context.Barrier(2, timeout=60), context.Queue()

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
        process.join(60)
    assert len(files(tmp_path, "*.uint8")) == 1


def test_threads_of_one_process_build_one_cache(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    split, stores = dataset.split("train_weaksup"), []
    threads = [threading.Thread(target=lambda: stores.append(ImageStore(split, 16, config))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [store.cached for store in stores] == [True] * 4 and len(files(tmp_path, "*.uint8")) == 1


def test_long_builds_show_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wsol.pace.SECONDS_BETWEEN_LINES", -1.0)
    dataset, config = make(tmp_path)
    ImageStore(dataset.split("test"), 9, config)
    assert "decoding toy-test-9: 2 of 4 images" in capsys.readouterr().err
