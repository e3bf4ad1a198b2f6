"""Names of other machines and other folders, and the files that they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsol.data.imports.locating import ImageFiles

FILES = ["train2017/1.jpg", "val2017/2.jpg", "val2017/3.JPG", "a/same.jpg", "b/same.jpg", "top.png", "b/c/d.jpg"]
HIDDEN = ["train2017/._1.jpg", ".cache/5.jpg"]


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    for name in [*FILES, *HIDDEN, "notes.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return ImageFiles(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train2017/1.jpg", "train2017/1.jpg"),
        ("./train2017/1.jpg", "train2017/1.jpg"),
        ("1.jpg", "train2017/1.jpg"),
        ("/home/other/coco/train2017/1.jpg", "train2017/1.jpg"),
        (r"C:\photos\train2017\1.jpg", "train2017/1.jpg"),
        ("https://host/images/top.png", "top.png"),
        ("same.jpg", None),
        ("a/same.jpg", "a/same.jpg"),
        ("other/a/same.jpg", "a/same.jpg"),
        ("train2017/2.jpg", None),
        ("c/d.jpg", "b/c/d.jpg"),
        ("../outside.jpg", None),
        ("", None),
        ("3.jpg", None),
        ("a/top.png", None),
        ("/mnt/a/top.png", None),
        ("elsewhere/top.png", "top.png"),
        ("._1.jpg", None),
        (".cache/5.jpg", ".cache/5.jpg"),
        ("5.jpg", None),
        ("x" * 5000, None),
    ],
)
def test_the_only_file_that_a_name_can_mean(name: str, expected: str | None, files: ImageFiles) -> None:
    assert files.find(name) == expected


@pytest.mark.parametrize(
    ("stem", "expected"), [("train2017/1", "train2017/1.jpg"), ("3", "val2017/3.JPG"), ("same", None), ("notes", None)]
)
def test_a_name_without_its_ending(stem: str, expected: str | None, files: ImageFiles) -> None:
    assert files.find_stem(stem) == expected


def test_two_endings_of_one_name(files: ImageFiles) -> None:
    (files.root / "top.jpg").touch()
    assert ImageFiles(files.root).find_stem("top") is None


def test_linked_folders_are_looked_into(files: ImageFiles, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "images").symlink_to(tmp_path / "train2017")
    assert ImageFiles(tmp_path / "linked").find("1.jpg") == "images/1.jpg"
