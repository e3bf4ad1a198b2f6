"""XML of PASCAL VOC: corners, lists, difficult objects, and files made to harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.annotation_files import voc_xml
from tests.support.imported import SIZE, dataset, imported, photograph
from wsol.data import metadata
from wsol.errors import InputError

CAT = {"name": "cat", "box": (2, 3, 11, 10)}
DOG = {"name": "dog", "box": (2, 3, 11, 10)}
BOMB = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&c;</annotation>'


class Voc:
    """Images and annotations that grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.annotations, self.images, self.made = (folder / name for name in ("Annotations", "JPEGImages", "made"))

    def add(self, stem: str, *objects: dict[str, Any], size: tuple[int, int] = SIZE, image: str = "") -> Path:
        """An image, `<stem>.jpg` unless said otherwise, with its annotation; returns the XML file."""
        photograph(self.images / (image or f"{stem}.jpg"))
        path = self.annotations / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(voc_xml(image or f"{stem}.jpg", size, list(objects)))
        return path

    def make(self, **more: Any) -> list[str]:
        """Import it; returns what was said."""
        given = {"annotations": str(self.annotations), "images": str(self.images), "val": 0.25, "test": 0.25}
        return imported("voc", self.made, **{**given, **more})

    def boxes(self) -> dict[str, list[list[int]]]:
        """Image -> boxes, of all splits of what was made."""
        found = {}
        for split in ("train", "val", "test"):
            data = metadata.read(self.made / "metadata" / split, annotated=True)
            assert data.boxes is not None
            found |= {name: boxes.tolist() for name, boxes in zip(data.image_ids, data.boxes, strict=True)}
        return found


@pytest.fixture
def voc(tmp_path: Path) -> Voc:
    several = Voc(tmp_path)
    for index in range(4):
        several.add(f"b/dog{index}", DOG)
        several.add(f"a/cat{index}", CAT)
    return several


def test_corners_count_from_one_unless_said_otherwise(voc: Voc) -> None:
    path = voc.add("x", {"name": "cat", "box": (0, 0, SIZE[0] - 1, SIZE[1] - 1)})
    assert f"<xmin>1</xmin><ymin>1</ymin><xmax>{SIZE[0]}</xmax>" in path.read_text()
    assert not [line for line in voc.make() if line.startswith("cut")]
    assert voc.boxes()["x.jpg"] == [[0, 0, SIZE[0] - 1, SIZE[1] - 1]]
    voc.made.rename(voc.folder / "before")
    voc.make(first_pixel=0)
    assert voc.boxes()["x.jpg"] == [[1, 1, SIZE[0] - 1, SIZE[1] - 1]]


def test_labels_are_in_the_order_of_names(voc: Voc) -> None:
    assert "classes: 2, labels in the order of their names" in voc.make()
    assert dataset(voc.made).class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("objects", "line"),
    [
        ([CAT, DOG], "left out: 1 image with two classes or more (x.jpg)"),
        ([], "left out: 1 image without an annotation (x.jpg)"),
        ([{"name": "cat", "box": (9, 3, 4, 8)}], "left out: 1 annotation with an empty or inverted box (x.jpg)"),
        ([CAT | {"difficult": 1}], "left out: 1 difficult object (x.jpg)"),
        ([CAT, DOG | {"difficult": 1}], "left out: 1 image with two classes or more (x.jpg)"),
    ],
)
def test_images_without_an_object_to_find_are_left_out(objects: list[dict[str, Any]], line: str, voc: Voc) -> None:
    voc.add("x", *objects)
    assert line in voc.make()
    assert "x.jpg" not in voc.boxes() and len(voc.boxes()) == 8


def test_difficult_objects_are_left_out_beside_others(voc: Voc) -> None:
    voc.add("x", CAT | {"difficult": 1}, CAT | {"box": (0, 0, 3, 3)})
    voc.make()
    assert voc.boxes()["x.jpg"] == [[0, 0, 3, 3]]


def test_a_blank_says_that_an_object_is_not_difficult(voc: Voc) -> None:
    voc.add("x", CAT | {"difficult": " "})
    voc.make()
    assert voc.boxes()["x.jpg"] == [[2, 3, 11, 10]]


def test_hidden_files_and_names_that_are_no_text(voc: Voc) -> None:
    (voc.annotations / "a" / "._cat0.xml").write_bytes(b"\x00\x05\x16\x07")
    (voc.images / "a" / "._cat0.jpg").write_bytes(b"\x00\x05\x16\x07")
    voc.add("cafe", CAT).rename(voc.annotations / "caf\udce9.xml")
    (voc.images / "cafe.jpg").rename(voc.images / "caf\udce9.jpg")
    assert (
        "left out: 1 image whose name has a comma, a backslash, a control character or no UTF-8, which the text files"
        " cannot hold (caf\udce9.jpg)"
    ) in voc.make()
    assert len(voc.boxes()) == 8 and "caf\\udce9.jpg" in (voc.made / "import.txt").read_text()


def test_parts_of_an_object_are_no_objects(voc: Voc) -> None:
    path = voc.add("x", CAT)
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    path.write_text(path.read_text().replace("<bndbox>", f"{part}<bndbox>"))
    voc.make()
    assert voc.boxes()["x.jpg"] == [[2, 3, 11, 10]]


@pytest.mark.parametrize("sides", ["<width>0</width><height>0</height>", "<depth>3</depth>", "<width/><height/>", None])
def test_a_size_that_is_not_known(sides: str | None, voc: Voc) -> None:
    path = voc.add("x", CAT)
    before, _, after = path.read_text().partition("<size>")
    size = "" if sides is None else f"<size>{sides}</size>"
    path.write_text(f"{before}{size}{after.partition('</size>')[2]}")
    voc.make()
    assert voc.boxes()["x.jpg"] == [[2, 3, 11, 10]]


def test_the_image_is_that_of_the_stem_or_that_of_filename(voc: Voc) -> None:
    voc.add("x", CAT, image="elsewhere/other.jpg")
    photograph(voc.images / "two.jpg")
    voc.add("two", CAT, image="two.png")
    voc.add("before", CAT).rename(voc.annotations / "after.xml")
    (voc.images / "before.jpg").rename(voc.images / "after.jpg")
    voc.add("c/train/deep", CAT, image="flat.jpg").write_text(voc_xml("flat.jpg", SIZE, [CAT]))
    lines = voc.make()
    assert [line for line in lines if line.startswith("found")] == [
        "found by the end of the name: 1 image in folders that are not there (c/train/flat.jpg)"
    ]
    assert {"elsewhere/other.jpg", "two.png", "after.jpg", "flat.jpg"} < set(voc.boxes())
    assert "two.jpg" not in voc.boxes()


def test_lists_of_images(voc: Voc) -> None:
    lists = {"train": "b/dog0\na/cat0\n\n", "val": "b/dog1\na/cat1", "test": "b/dog2\na/cat2\nnever"}
    for split, text in lists.items():
        (voc.folder / f"{split}.txt").write_text(text)
    lines = voc.make(**{split: str(voc.folder / f"{split}.txt") for split in lists})
    assert "splits: train 2, val 2, test 2 images; as listed" in lines
    assert f"left out: 1 name of {voc.folder}/test.txt without an XML file (never)" in lines
    assert "left out: 2 images in no list of train, val and test" in lines
    assert dataset(voc.made).split("test").image_ids == ("a/cat2.jpg", "b/dog2.jpg")


def test_folders_as_lists_and_the_rest_for_training(voc: Voc) -> None:
    for split in ("valid", "test"):
        voc.add(f"{split}/c", CAT)
    lines = voc.make(val=str(voc.annotations / "valid"), test=str(voc.annotations / "test"))
    assert "splits: train 8, val 1, test 1 images; as listed" in lines
    assert dataset(voc.made).split("test").image_ids == ("test/c.jpg",)


def test_a_share_is_drawn_from_a_list(voc: Voc) -> None:
    (voc.folder / "train.txt").write_text("\n".join(f"a/cat{index}" for index in range(4)))
    lines = voc.make(train=str(voc.folder / "train.txt"))
    assert "splits: train 2, val 1, test 1 images; val=0.25, test=0.25 of each class, drawn by seed=0" in lines


@pytest.mark.parametrize(
    ("lists", "problem"),
    [
        ({"val": "a/cat0", "test": "a/cat0"}, "test.txt: a/cat0 is in val too; an image belongs to one split"),
        ({"test": "x1\nx2"}, "test.txt: none of its 2 names has an XML file, such as x1"),
        ({"test": None}, "test.txt: no such list of images"),
    ],
)
def test_lists_that_are_refused(lists: dict[str, str | None], problem: str, voc: Voc) -> None:
    for split, text in lists.items():
        if text is not None:
            (voc.folder / f"{split}.txt").write_text(text)
    with pytest.raises(InputError) as caught:
        voc.make(**{split: str(voc.folder / f"{split}.txt") for split in lists})
    assert problem in str(caught.value) and not voc.made.exists()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("</annotation>", "", "cannot be read as XML (no element found: line 1, column"),
        ("annotation>", "html>", "begins with <html>, annotations of VOC with <annotation>"),
        ("<xmin>3</xmin>", "<xmin>nan</xmin>", "object 1: xmin is 'nan' and should be a number of pixels"),
        ("<xmin>3</xmin>", "<xmin>1e999</xmin>", "object 1: xmin is '1e999' and should be a number"),
        ("<xmin>3</xmin>", "", "object 1: xmin is '' and should be a number of pixels"),
        ("<width>40</width>", "<width>wide</width>", "size: width is 'wide' and should be a number of pixels"),
        ("<name>cat</name>", "", "object 1: has no name; name its class"),
        ("bndbox", "robndbox", "object 1: has no bndbox; export boxes, or delete the object"),
        ("<annotation>", "<annotation>\x00", "cannot be read as XML (not well-formed (invalid token): line 1"),
    ],
)
def test_damaged_files_have_their_place(old: str, new: str, problem: str, voc: Voc) -> None:
    path = voc.add("x", CAT)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError) as caught:
        voc.make()
    assert f"{path}: {problem}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_are_read(encoding: str, voc: Voc) -> None:
    voc.add("x").write_bytes(BOMB.encode(encoding))
    with pytest.raises(InputError, match=r"x\.xml: cannot be read as XML \(has a DOCTYPE, which annotations need not"):
        voc.make()


def test_a_file_without_end_is_refused(voc: Voc) -> None:
    with voc.add("x").open("r+b") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(InputError, match=r"x\.xml: has 17,825,792 bytes, more than the 16,777,216 of such a file"):
        voc.make()


def test_folders_that_are_none(voc: Voc) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder; name the folder of the XML files"):
        voc.make(annotations=str(voc.folder / "nowhere"))
    with pytest.raises(InputError, match="JPEGImages: holds no XML file"):
        voc.make(annotations=str(voc.images))
    with pytest.raises(InputError, match="nowhere: no such folder; name the folder of the images"):
        voc.make(images=str(voc.folder / "nowhere"))
    with pytest.raises(InputError, match="Annotations: holds no image"):
        voc.make(images=str(voc.annotations))
