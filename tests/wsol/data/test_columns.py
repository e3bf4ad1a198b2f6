"""Columns that are read fast are those of the strict reader, to the last file that only the latter takes or refuses."""

from __future__ import annotations

import random
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from tests.support.damage import damaged
from tests.wsol.data.test_metadata import DEFECTS, GOOD, put
from wsol.data import columns, metadata
from wsol.errors import InputError

IDS = ["a/1.jpg", "b/2.jpg", "a/3.jpg"]
UNUSUAL = [
    {"image_ids": "\ufeffb/2.jpg\r\na/1.jpg"},
    {"image_ids": "a/1.jpg\n \nb/2.jpg"},
    {"image_ids": " \na/1.jpg"},
    {"image_ids": "a/ /1.jpg\na/é 1.jpg"},
    {"image_ids": "a/1.jpg\x85\nb/2.jpg"},
    {"class_labels": "a/1.jpg,1,b/2.jpg\n1\na/3.jpg,1"},
    {"class_labels": "a/1.jpg,0\nb/2.jpg,١\na/3.jpg,0"},
    {"class_labels": "a/1.jpg,0\nb/2.jpg,+1\na/3.jpg,0"},
    {"class_labels": "a/1.jpg,0\nb/2.jpg,001\na/3.jpg,0\n"},
    {"class_labels": "a/1.jpg,0\nb/2.jpg,1\na/3.jpg,0\nc.jpg,2"},
    {"class_labels": "a/1.jpg,0\nb/2.jpg,1\na/3.jpg,0\n ,1"},
    {"class_labels": "a/1.jpg,0\nb/2.jpg,1\na/3.jpg,0\nc.jpg,1\nc.jpg,1"},
    {"class_labels": "a/3.jpg,0\na/1.jpg,0\nb/2.jpg,1\na/3.jpg,0"},
    {"class_labels": "a/1.jpg,0\n\nb/2.jpg,1\na/3.jpg,0"},
    {"image_sizes": "a/1.jpg,100,1000000000\nb/2.jpg,30,40\na/3.jpg,64,64"},
    {"image_sizes": "a/1.jpg,100,50\nb/2.jpg,30,40\na/3.jpg,64,64\nc.jpg,0,1"},
    {"image_sizes": ""},
]


def outcome(folder: Path) -> object:
    """What a training split reads, or why not."""
    try:
        read = metadata.read(folder, annotated=False, num_classes=2)
    except InputError as error:
        return str(error)
    return [field.tolist() if isinstance(field, np.ndarray) else field for field in astuple(read)]


def strictly(folder: Path) -> object:
    """The same without the fast columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "image_ids", lambda path: None)
        patch.setattr(columns, "numbers", lambda *arguments: None)
        return outcome(folder)


@pytest.fixture(autouse=True, params=[1, 2**19])
def characters_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "AT_ONCE", request.param)


@pytest.mark.parametrize("changes", [*UNUSUAL, *(changes for changes, _ in DEFECTS)])
def test_unusual_files_are_judged_by_the_strict_reader(changes: dict[str, str | None], tmp_path: Path) -> None:
    assert outcome(put(tmp_path, **changes)) == strictly(tmp_path)


def test_damaged_files_are_judged_by_the_strict_reader(tmp_path: Path) -> None:
    draw, read = random.Random(0), 0
    for number in range(300):
        name = list(GOOD)[number % 3]
        (put(tmp_path) / name).write_bytes(damaged(GOOD[name].encode(), draw))
        found = outcome(tmp_path)
        assert found == strictly(tmp_path)
        read += not isinstance(found, str)
    assert read >= 5, "some damage is none"


def test_flawless_files_are_read_fast(tmp_path: Path) -> None:
    put(tmp_path)
    assert columns.image_ids(tmp_path / "image_ids.txt") == IDS
    labels = columns.numbers(tmp_path / "class_labels.txt", IDS, 1, range(2))
    assert labels is not None and labels.tolist() == [[0], [1], [0]] and labels.dtype == np.int64
    sizes = columns.numbers(tmp_path / "image_sizes.txt", IDS, 2, range(1, 101))
    assert sizes is not None and sizes.tolist() == [[100, 50], [30, 40], [64, 64]]


def test_rows_in_another_order_and_of_other_images_are_read_fast(tmp_path: Path) -> None:
    put(tmp_path)
    for ids, labels in ((["a/3.jpg", "b/2.jpg"], [[0], [1]]), (["b/2.jpg", "a/1.jpg", "a/3.jpg"], [[1], [0], [0]])):
        found = columns.numbers(tmp_path / "class_labels.txt", ids, 1, range(2))
        assert found is not None and found.tolist() == labels
    assert columns.numbers(tmp_path / "class_labels.txt", ["b/2.jpg"], 1, range(1)) is None, "1 is out of range"


def test_names_with_equal_hashes_are_left_to_the_strict_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_hashes", lambda names: np.zeros(len(names), np.int64))
    assert columns.image_ids(put(tmp_path) / "image_ids.txt") is None
    assert outcome(tmp_path) == strictly(tmp_path)
