"""Splits of a data set, their subsets and annotations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.folders import SIZE, make
from wsol import build
from wsol.data.dataset import SPLIT_FOLDERS, Dataset
from wsol.errors import InputError
from wsol.schema import DatasetConfig


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


def test_a_list_of_images_is_read_in_any_encoding_and_must_list_some(tmp_path: Path) -> None:
    split, path = make(tmp_path)[0].split("train_weaksup"), tmp_path / "list.txt"
    path.write_bytes("train/3.png\r\ntrain/1.png\r\n".encode("utf-16"))
    assert split.listed(path).image_ids == ("train/1.png", "train/3.png")
    path.write_text("train/1.png\n\ntrain/99.png\n")
    with pytest.raises(InputError, match=r"list\.txt:3: 'train/99\.png' is not among the 11 images"):
        split.listed(path)
    for blank in ("", "\n \n"):
        path.write_text(blank)
        with pytest.raises(InputError, match=r"list\.txt: lists no image"):
            split.listed(path)
    path.write_bytes(b"\xff\x00\xfe")
    with pytest.raises(InputError, match=r"list\.txt: cannot be read as UTF-8"):
        split.listed(path)


def test_a_list_of_images_that_is_missing_has_something_in_its_stead_or_is_an_error(tmp_path: Path) -> None:
    """A misspelt name must not mean: train on everything."""
    data, config = make(tmp_path)
    for name in ("proxi.txt", " "):
        misspelt = config.model_copy(update={"subset_list": name})
        with pytest.raises(InputError, match=rf"train/{name}: no such list of images, data\.subset_list names it"):
            build.split(data, "train_weaksup", misspelt)
    instead = misspelt.model_copy(update={"subset_per_class": 2})
    assert len(build.split(data, "train_weaksup", instead)) == 6
    assert "there is no " in build.training_images(data, instead)
    assert len(build.split(data, "test", misspelt)) == 4
