"""Text files of YOLO: layouts, names, rows, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imported import dataset, imported, photograph
from tests.support.yolo import HEIGHT, ROW, WIDTH, boxes, flat, ultralytics
from wsol.errors import InputError


def test_splits_of_a_data_yaml(tmp_path: Path) -> None:
    lines = imported("yolo", tmp_path / "made", **ultralytics(tmp_path, "train", "val", "test"))
    assert "splits: train 6, val 6, test 6 images; as listed" in lines
    found = boxes(tmp_path / "made", "test")
    assert found == {f"images/test/{index}.png": [[2, 3, 11, 10]] for index in range(6)}
    assert dataset(tmp_path / "made").class_names == ["cat", "dog"]


def test_what_a_data_yaml_lacks_is_drawn_from_its_training_images(tmp_path: Path) -> None:
    lines = imported("yolo", tmp_path / "made", **ultralytics(tmp_path, "train", "val"))
    assert "splits: train 4, val 6, test 2 images; test=0.2 of each class, drawn by seed=0" in lines
    lines = imported("yolo", tmp_path / "again", **ultralytics(tmp_path, "train", "val"), test=0.5, val=0.2)
    assert f"images of val in {tmp_path}/data.yaml are drawn from, as val=0.2 says" in lines
    assert "splits: train 4, val 2, test 6 images; val=0.2, test=0.5 of each class, drawn by seed=0" in lines


def test_paths_as_roboflow_writes_them(tmp_path: Path) -> None:
    given = ultralytics(tmp_path, "train", "val", "test")
    path = Path(given["annotations"])
    path.write_text(path.read_text().replace(": images", ": ../images").replace("[cat, dog]", "{0: no, 1: 2}"))
    lines = imported("yolo", tmp_path / "made", **given)
    assert dataset(tmp_path / "made").class_names == ["no", "2"], "not false, not a number"
    assert f"{path}: {tmp_path}/../images/val is not there; {tmp_path}/images/val is taken" in lines


def test_a_path_that_is_not_there_is_said(tmp_path: Path) -> None:
    given = ultralytics(tmp_path, "train", "val", "test")
    path = Path(given["annotations"])
    path.write_text(f"path: elsewhere\n{path.read_text()}")
    lines = imported("yolo", tmp_path / "made", **given)
    said = f"{path}: path {tmp_path}/elsewhere is not there; places are looked for in the folder of the file"
    assert said in lines and "splits: train 6, val 6, test 6 images; as listed" in lines


def test_a_folder_of_text_files(tmp_path: Path) -> None:
    given = flat(tmp_path)
    (tmp_path / "labels" / "5.txt").unlink()
    (tmp_path / "labels" / "4.txt").write_text("")
    (tmp_path / "labels" / "orphan.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "labels" / "3.txt").write_text(f"1 {ROW}\n0 {ROW}\n")
    photograph(tmp_path / "images" / "6.png")
    (tmp_path / "labels" / "6.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4")
    for index in range(7, 11):
        photograph(tmp_path / "images" / f"{index}.png")
        (tmp_path / "labels" / f"{index}.txt").write_text(f"0 {ROW}\n\n0 0.5 0.5 1 1\n0 {ROW}\n")
    lines = imported("yolo", tmp_path / "made", **given)
    assert "left out: 1 text file without an image (orphan.txt)" in lines
    assert "left out: 2 images without an annotation (4.png, 5.png)" in lines
    assert "left out: 1 image with two classes or more (3.png)" in lines
    assert "left out: 4 annotations with the same box as another one of its image (10.png, 7.png, 8.png, ...)" in lines
    found = {**boxes(tmp_path / "made", "train"), **boxes(tmp_path / "made", "val"), **boxes(tmp_path / "made", "test")}
    assert found["6.png"] == [[4, 3, 19, 11]], "an outline's bounding box"
    assert found["7.png"] == [[2, 3, 11, 10], [0, 0, WIDTH - 1, HEIGHT - 1]] and len(found) == 8
    assert dataset(tmp_path / "made").class_names == ["cat", "dog"]


def test_images_that_share_a_text_file_are_said(tmp_path: Path) -> None:
    given = flat(tmp_path)
    photograph(tmp_path / "images" / "1.jpg")
    lines = imported("yolo", tmp_path / "made", **given)
    assert "2 images that differ only in their ending share text files (1.jpg, 1.png)" in lines


def test_images_and_text_files_in_one_folder(tmp_path: Path) -> None:
    given = flat(tmp_path)
    for path in sorted((tmp_path / "labels").iterdir()):
        path.rename(tmp_path / "images" / path.name)
    imported("yolo", tmp_path / "made", **{**given, "annotations": str(tmp_path / "images")})
    assert len(boxes(tmp_path / "made", "train")) == 2 and dataset(tmp_path / "made").class_names == ["cat", "dog"]


def test_names_that_differ_between_folders(tmp_path: Path) -> None:
    given = ultralytics(tmp_path, "train", "val")
    given = {"annotations": str(tmp_path / "labels"), "images": str(tmp_path / "images")}
    (tmp_path / "labels/train/classes.txt").write_text("cat\ndog")
    (tmp_path / "labels/val/classes.txt").write_text("dog\ncat")
    with pytest.raises(
        InputError, match=r"val/classes.txt: has other names than .*/train/classes.txt; say with classes="
    ):
        imported("yolo", tmp_path / "made", **given)
    imported("yolo", tmp_path / "made", **given, classes=str(tmp_path / "labels/val/classes.txt"))
    assert dataset(tmp_path / "made").class_names == ["dog", "cat"]


def test_names_of_ones_own_and_none(tmp_path: Path) -> None:
    given = flat(tmp_path)
    (tmp_path / "mine.txt").write_text("kitten\npuppy")
    imported("yolo", tmp_path / "made", **given, classes=str(tmp_path / "mine.txt"))
    assert dataset(tmp_path / "made").class_names == ["kitten", "puppy"]
    (tmp_path / "labels" / "classes.txt").unlink()
    imported("yolo", tmp_path / "numbers", **given)
    assert dataset(tmp_path / "numbers").class_names == ["0", "1"]


def test_lists_of_images(tmp_path: Path) -> None:
    given = flat(tmp_path)
    for split, text in {
        "train": "./images/0.png\n1.png\n",
        "val": "2.png\n3.png",
        "test": "4.png\n5.png\n99.png",
    }.items():
        (tmp_path / f"{split}.txt").write_text(text)
        given[split] = str(tmp_path / f"{split}.txt")
    lines = imported("yolo", tmp_path / "made", **given)
    assert "splits: train 2, val 2, test 2 images; as listed" in lines
    assert f"left out: 1 name of {tmp_path}/test.txt without an image (99.png)" in lines


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("0 0.1 0.2 0.3", "0.txt:1: 4 fields instead of 5; rows are class, x, y, width, height"),
        ("0 0.1 0.2 0.3 0.4 0.9", "0.txt:1: 6 fields instead of 5"),
        ("cat 0.1 0.2 0.3 0.4", "0.txt:1: the class 'cat' is no number"),
        ("2 0.1 0.2 0.3 0.4", "0.txt:1: class 2 has no name; there are 2: complete the names"),
        ("0 0.1 nan 0.3 0.4", "0.txt:1: holds a number that is no share of the image"),
        ("0 0.1 x 0.3 0.4", "0.txt:1: could not convert string to float: 'x'"),
        ("0 0.1 1e300 0.3 0.4", "0.txt:1: holds a number that is no share of the image"),
        ("\xff", "0.txt: cannot be read as UTF-8 text"),
    ],
)
def test_rows_that_are_refused(row: str, problem: str, tmp_path: Path) -> None:
    given = flat(tmp_path)
    (tmp_path / "labels" / "0.txt").write_bytes(row.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        imported("yolo", tmp_path / "made", **given)
    assert str(caught.value).startswith(f"{tmp_path}/labels/{problem}") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("names: [", "cannot be read as YAML (while parsing"),
        ("train: images/train", "has no names; a data.yaml of YOLO has train, val and names"),
        ("names: 3", "names should be a list, or numbers with names"),
        ("names: {a: b}", "names should be a list, or numbers with names"),
        ("names: [a]\ntrain: nowhere", "nowhere is not there; correct the path"),
        ("names: [a]\nkpt_shape: [17, 3]", "is of poses (kpt_shape), whose rows are no boxes"),
        ("[" * 5000, "cannot be read as YAML"),
    ],
)
def test_a_data_yaml_that_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    given = ultralytics(tmp_path, "train")
    Path(given["annotations"]).write_text(text)
    with pytest.raises(InputError) as caught:
        imported("yolo", tmp_path / "made", **given)
    assert str(caught.value).startswith(f"{tmp_path}/data.yaml: ") and problem in str(caught.value)
    assert "\n" not in str(caught.value)
