"""Where the images and the text files of YOLO are: paths of all kinds, splits in each other, and what is in none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imported import dataset, imported, photograph
from tests.support.yolo import ROW, boxes, flat, ultralytics
from wsol.errors import InputError


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ultralytics(tmp_path, "train", "val", "test")
    monkeypatch.chdir(tmp_path)
    lines = imported("yolo", Path("made"), annotations="data.yaml")
    assert "splits: train 6, val 6, test 6 images; as listed" in lines
    assert set(boxes(tmp_path / "made", "val")) == {f"images/val/{index}.png" for index in range(6)}


@pytest.mark.parametrize("written", ["data", "link"])
def test_lists_of_absolute_paths(written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat(tmp_path / "data")
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path / "data")
    lists = {"train": (0, 1), "val": (2, 3), "test": (4, 5)}
    for split, numbers in lists.items():
        paths = (tmp_path / written / "images" / f"{number}.png" for number in numbers)
        Path(f"{split}.txt").write_text("\n".join(map(str, paths)))
    given = {split: f"{split}.txt" for split in lists}
    imported("yolo", Path("made"), annotations="labels", images="images", **given)
    assert set(boxes(Path("made"), "test")) == {"4.png", "5.png"}
    Path("data.yaml").write_text("\n".join(["names: [cat, dog]", *(f"{split}: {split}.txt" for split in lists)]))
    imported("yolo", Path("again"), annotations="data.yaml")
    assert set(boxes(Path("again"), "test")) == {"images/4.png", "images/5.png"}


def test_training_gets_what_no_other_split_lists(tmp_path: Path) -> None:
    given = flat(tmp_path)
    for split, text in {"val": "0.png\n1.png", "test": "2.png\n3.png"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
        given[split] = str(tmp_path / f"{split}.txt")
    lines = imported("yolo", tmp_path / "made", **given)
    assert "splits: train 2, val 2, test 2 images; as listed" in lines
    assert not [line for line in lines if line.startswith(("not for training", "left out"))]


def test_a_training_folder_around_the_other_splits(tmp_path: Path) -> None:
    ultralytics(tmp_path, "train", "val", "test")
    path = tmp_path / "data.yaml"
    path.write_text("train: images\nval: v.txt\ntest: images/test\nnames: [cat, dog]")
    (tmp_path / "v.txt").write_text("images/val/0.png\nimages/val/1.png")
    lines = imported("yolo", tmp_path / "made", annotations=str(path))
    assert "splits: train 10, val 2, test 6 images; as listed" in lines
    assert f"not for training: 8 images of {tmp_path}/images, which val or test list" in lines


def test_an_image_in_two_lists(tmp_path: Path) -> None:
    given = flat(tmp_path)
    for split, text in {"train": "0.png\n1.png", "val": "2.png\n1.png"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
        given[split] = str(tmp_path / f"{split}.txt")
    with pytest.raises(InputError, match=r"train\.txt: 1\.png is in val too; name each image once"):
        imported("yolo", tmp_path / "made", **given)


def test_one_place_for_two_splits(tmp_path: Path) -> None:
    given = ultralytics(tmp_path, "train")
    path = tmp_path / "data.yaml"
    path.write_text(path.read_text() + "\nval: ../images/train\ntest: ~\npath: null")
    with pytest.raises(InputError, match=r"images/train: lists the images of train and of val; .* let val=0\.1 draw"):
        imported("yolo", tmp_path / "made", **given)
    lines = imported("yolo", tmp_path / "made", **given, val=0.3)
    assert "splits: train 2, val 2, test 2 images; val=0.3, test=0.2 of each class, drawn by seed=0" in lines
    ultralytics(tmp_path, "val")
    path.write_text("train: images/train\nval: images/val\ntest: images/val\nnames: [cat, dog]")
    with pytest.raises(InputError, match=r"images/val: lists the images of val and of test; .* let test=0\.1 draw"):
        imported("yolo", tmp_path / "again", **given)
    lines = imported("yolo", tmp_path / "again", **given, test=0.3)
    assert "splits: train 4, val 6, test 2 images; test=0.3 of each class, drawn by seed=0" in lines


def test_images_outside_of_their_folder(tmp_path: Path) -> None:
    given = ultralytics(tmp_path, "train", "val", "test")
    with pytest.raises(InputError, match=r"lies outside of .*/images/train; name a folder that holds all images"):
        imported("yolo", tmp_path / "made", **given, images=str(tmp_path / "images" / "train"))


def test_text_files_whose_image_is_in_no_split_or_not_there(tmp_path: Path) -> None:
    given = ultralytics(tmp_path, "train", "val", "other")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]")
    for name in ("gone/a.txt", "gone/._a.txt", "train/b.txt", "val/classes.txt"):
        (tmp_path / "labels" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "labels" / name).write_text(f"0 {ROW}")
    lines = imported("yolo", tmp_path / "made", **given)
    assert [line for line in lines if line.startswith("left out: 6 images in no list of train, val and test (0, 1, ")]
    assert "left out: 2 text files without an image (a.txt, b.txt)" in lines


def test_lists_beside_the_text_files_are_none_of_them(tmp_path: Path) -> None:
    given = flat(tmp_path)
    for split, text in {"train": "0.png\n1.png", "val": "2.png", "test": "3.png"}.items():
        (tmp_path / "labels" / f"{split}.txt").write_text(text)
        given[split] = str(tmp_path / "labels" / f"{split}.txt")
    lines = imported("yolo", tmp_path / "made", **given)
    assert "left out: 2 images in no list of train, val and test (4, 5)" in lines
    assert not [line for line in lines if "text file" in line]


def test_hidden_images_and_names_that_are_no_text(tmp_path: Path) -> None:
    given = flat(tmp_path)
    (tmp_path / "images" / "._0.png").write_bytes(b"\x00\x05\x16\x07")
    photograph(tmp_path / "images" / "caf\udce9.png")
    (tmp_path / "labels" / "caf\udce9.txt").write_text(f"0 {ROW}")
    (tmp_path / "labels" / "n\udce9.txt").write_text(f"0 {ROW}")
    lines = imported("yolo", tmp_path / "made", **given)
    assert [line for line in lines if "no UTF-8" in line and line.endswith("cannot hold (caf\udce9.png)")]
    assert not [line for line in lines if "._0" in line]
    assert "(n\\udce9.txt)" in (tmp_path / "made" / "import.txt").read_text()
    assert dataset(tmp_path / "made").class_names == ["cat", "dog"]
