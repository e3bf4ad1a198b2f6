"""Instances JSON: what is taken, what is left out with which sentence, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.imported import SIZE, Coco, dataset, photograph
from wsol.data.decoding import EXIF_ORIENTATION
from wsol.errors import InputError

BOX = {"bbox": [2, 3, 10, 8]}
SQUARE = {"bbox": [2, 3, 10, 8], "segmentation": [[2, 3, 12, 3, 12, 11, 2, 11]]}
WIDTH, HEIGHT = SIZE


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    return Coco(tmp_path).several()


def test_labels_are_in_the_order_of_ids_and_classes_without_images_are_left_out(coco: Coco) -> None:
    lines = coco.make()
    assert dataset(coco.folder / "made").class_names == ["cat", "dog"]
    assert "left out: 1 class without an image (fish)" in lines
    assert "classes: 2, labels in the order of their ids" in lines
    for split in ("train_weaksup", "train_fullsup", "test"):
        part = dataset(coco.folder / "made").split(split)
        assert [name[:3] for name in part.image_ids] == [["cat", "dog"][label] for label in part.labels]


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ([2, 3, 10, 8], [2, 3, 11, 10]),
        ([2.4, 3.6, 10.2, 7.8], [2, 4, 12, 10]),
        ([2.00000001, 3, 9.99999999, 8], [2, 3, 11, 10]),
        ([0, 0, WIDTH, HEIGHT], [0, 0, WIDTH - 1, HEIGHT - 1]),
        ([5, 6, 1, 1], [5, 6, 5, 6]),
    ],
)
def test_boxes_become_the_pixels_that_they_cover(bbox: list[float], expected: list[int], coco: Coco) -> None:
    coco.add("x.png", {"bbox": bbox}, {"bbox": [1, 1, 2, 2]})
    lines = coco.make()
    assert coco.boxes()["x.png"] == [expected, [1, 1, 2, 2]]
    assert not [line for line in lines if line.startswith("cut")]


@pytest.mark.parametrize(
    ("objects", "line"),
    [
        ([BOX, BOX | {"category_id": 90}], "left out: 1 image with two classes or more (x.png)"),
        ([BOX, BOX | {"category_id": 90, "iscrowd": 1}], "left out: 1 image with two classes or more (x.png)"),
        ([], "left out: 1 image without an annotation (x.png)"),
        ([{"bbox": [2, 3, 0, 8]}], "left out: 1 annotation with an empty or inverted box (x.png)"),
        ([{"bbox": [9, 3, -4, 8]}], "left out: 1 annotation with an empty or inverted box (x.png)"),
        ([{"bbox": []}], "left out: 1 annotation with an empty or inverted box (x.png)"),
        ([{"bbox": [WIDTH, 3, 4, 8]}], "left out: 1 annotation outside of the image (x.png)"),
        ([{"bbox": [1, -9, 4, 8]}], "left out: 1 annotation outside of the image (x.png)"),
        ([BOX | {"iscrowd": 1}], "left out: 1 crowd annotation (x.png)"),
        ([{"bbox": None}], "left out: 1 annotation with an empty or inverted box (x.png)"),
    ],
)
def test_images_without_an_object_to_find_are_left_out(objects: list[dict[str, Any]], line: str, coco: Coco) -> None:
    coco.add("x.png", *objects)
    assert line in coco.make()
    assert "x.png" not in coco.boxes() and len(coco.boxes()) == 8


def test_a_repeated_box_is_one_box(coco: Coco) -> None:
    coco.add("x.png", BOX, BOX | {"iscrowd": None}, {"bbox": [1, 1, 2, 2]})
    assert "left out: 1 annotation with the same box as another one of its image (x.png)" in coco.make()
    assert coco.boxes()["x.png"] == [[2, 3, 11, 10], [1, 1, 2, 2]]


def test_crowds_are_no_objects_and_every_one_is_counted(coco: Coco) -> None:
    coco.add("x.png", BOX, {"bbox": [1, 1, 5, 5], "iscrowd": 1}, {"bbox": [1, 1, 6, 6], "iscrowd": 1})
    coco.add("y.png", {"bbox": [1, 1, 5, 5], "iscrowd": 1})
    assert "left out: 3 crowd annotations (x.png, y.png)" in coco.make()
    assert coco.boxes()["x.png"] == [[2, 3, 11, 10]]


def test_boxes_are_cut_at_the_image(coco: Coco) -> None:
    coco.add("x.png", {"bbox": [-3, 25, 10, 20]})
    assert "cut: 1 annotation that reached over the edge of the image (x.png)" in coco.make()
    assert coco.boxes()["x.png"] == [[0, 25, 6, HEIGHT - 1]]


def test_image_files_that_do_not_fit(coco: Coco) -> None:
    coco.add("gone.png", BOX, file=None)
    coco.add("a,b.png", BOX)
    coco.add("large.png", BOX, size=(WIDTH * 2, HEIGHT * 2))
    coco.add("broken.png", BOX)
    (coco.folder / "photos" / "broken.png").write_bytes(b"no image")
    coco.add("turned.jpg", BOX)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    photograph(coco.folder / "photos" / "turned.jpg", exif=exif)
    lines = coco.make()
    for line in (
        "left out: 1 image without a file, or whose name fits several files (gone.png)",
        "left out: 1 image whose name has a comma, a backslash, a control character or no UTF-8, which the text files"
        " cannot hold (a,b.png)",
        "left out: 1 image annotated in another size than that of the file (large.png)",
        "left out: 1 image that cannot be read (broken.png)",
        "left out: 1 image annotated without the EXIF orientation of the file (turned.jpg)",
    ):
        assert line in lines
    assert len(coco.boxes()) == 8


def test_sizes_that_are_not_given_and_those_as_displayed(coco: Coco) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    for name, size in (("unknown.jpg", (0, 0)), ("displayed.jpg", SIZE[::-1])):
        coco.add(name, {"bbox": [1, 32, 5, 5]}, size=size)
        photograph(coco.folder / "photos" / name, exif=exif)
    coco.make()
    assert coco.boxes()["unknown.jpg"] == coco.boxes()["displayed.jpg"] == [[1, 32, 5, 36]]


def test_files_of_their_own_for_val_and_test_with_other_ids(coco: Coco) -> None:
    others = {}
    for split in ("val", "test"):
        other = Coco(coco.folder)
        other.content["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
        other.add(f"{split}_cat.png", BOX | {"category_id": 2})
        other.add(f"{split}_dog.png", BOX | {"category_id": 1})
        others[split] = str(coco.folder / f"{split}.json")
        Path(others[split]).write_text(json.dumps(other.content))
    assert "splits: train 8, val 2, test 2 images; as listed" in coco.make(**others)
    test = dataset(coco.folder / "made").split("test")
    assert test.image_ids == ("test_cat.png", "test_dog.png") and test.labels.tolist() == [0, 1]


def test_a_share_is_drawn_beside_a_list(coco: Coco) -> None:
    other = Coco(coco.folder)
    other.add("t.png", BOX)
    path = coco.folder / "test.json"
    path.write_text(json.dumps(other.content))
    lines = coco.make(test=str(path))
    assert "splits: train 6, val 2, test 1 images; val=0.25 of each class, drawn by seed=0" in lines
    assert "note: test has no image of 1 of 2 classes (dog)" in lines


def test_segmentations_become_masks_and_crowds_the_ignored_region(tmp_path: Path) -> None:
    coco = Coco(tmp_path)
    for index in range(4):
        crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
        crowd[20:25, 30:38] = 1
        runs = np.diff(np.flatnonzero(np.diff(crowd.T.ravel(), prepend=[0])), prepend=[0])
        counts = [*runs.tolist(), WIDTH * HEIGHT - int(runs.sum())]
        region = {"size": [HEIGHT, WIDTH], "counts": counts}
        two = {"bbox": [0, 0, 4, 2], "segmentation": [[0, 0, 4, 0, 4, 2, 0, 2], [6, 6, 8, 6, 8, 8, 6, 8]]}
        coco.add(f"{index}.png", SQUARE, two, {"bbox": [30, 20, 8, 5], "iscrowd": 1, "segmentation": region})
    lines = coco.make()
    assert "masks beside the boxes: every annotation has a segmentation; for the boxes alone, masks=off" in lines
    assert "ignored regions: 4 crowd annotations (0.png, 1.png, 2.png, ...)" in lines
    split = dataset(tmp_path / "made").split("test")
    (objects,), ignored = split.mask_paths(0)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:11, 2:12] = expected[0:2, 0:4] = expected[6:8, 6:8] = True
    np.testing.assert_array_equal(np.asarray(Image.open(objects)), expected * 255)
    assert ignored is not None
    np.testing.assert_array_equal(np.asarray(Image.open(ignored)), crowd * 255)
    assert split.annotation(0, 20).mask is not None and not (tmp_path / "made/masks/made").exists()
    boxes = split.metadata.boxes
    assert boxes is not None and boxes[0].tolist() == [[2, 3, 11, 10], [0, 0, 3, 1]]  # without the crowd's


def test_compressed_run_lengths(tmp_path: Path) -> None:
    coco = Coco(tmp_path)
    for index in range(4):  # runs of 3, 4, 5 and 8 pixels; from the fourth on, the letters tell the change
        coco.add(f"{index}.png", {"segmentation": {"size": [5, 4], "counts": "3454"}}, size=(4, 5))
        photograph(tmp_path / "photos" / f"{index}.png", (4, 5))
    coco.make()
    (objects,), ignored = dataset(tmp_path / "made").split("test").mask_paths(0)
    expected = [[0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1], [1, 0, 1, 1]]
    assert (np.asarray(Image.open(objects)) // 255).tolist() == expected and ignored is None


@pytest.mark.parametrize(
    ("region", "problem"),
    [
        ({"size": [30, 40], "counts": "34~"}, "run lengths have '~', which is not of their code"),
        ({"size": [30, 40], "counts": [100, 50]}, "run lengths have 150 pixels, or negative runs, instead of 30 x 40"),
        ({"size": [40, 30], "counts": [1200]}, "run lengths of 30 x 40 pixels in an image of 40 x 30"),
    ],
)
def test_run_lengths_that_are_refused(region: dict[str, Any], problem: str, tmp_path: Path) -> None:
    coco = Coco(tmp_path)
    coco.add("0.png", {"segmentation": region})
    with pytest.raises(InputError) as caught:
        coco.make()
    assert str(caught.value) == f"{tmp_path}/i.json: annotations.0: {problem}; correct the file"


def test_run_lengths_tell_the_size_of_an_image_that_has_none(coco: Coco) -> None:
    coco.add("x.png", {"segmentation": {"size": [9, 8], "counts": [72]}}, size=(0, 0))
    coco.add("y.png", {"segmentation": {"size": [30, 40], "counts": [0, 1200]}}, size=(0, 0))
    assert "left out: 1 image annotated in another size than that of the file (x.png)" in coco.make()
    assert "x.png" not in coco.boxes() and coco.boxes()["y.png"] == [[0, 0, WIDTH - 1, HEIGHT - 1]]


def test_masks_only_where_all_have_one_unless_asked_for(coco: Coco) -> None:
    for index in range(3):
        coco.add(f"m{index}.png", SQUARE)
    coco.add("empty.png", {"bbox": [1, 1, 1, 1], "segmentation": [[1, 1, 1.1, 1, 1.1, 1.1]]})
    lines = coco.make()
    assert "boxes alone: 8 of 12 annotations have no segmentation; for masks and boxes of the others, masks=on" in lines
    (coco.folder / "made").rename(coco.folder / "before")
    lines = coco.make(masks="on")
    assert "left out: 8 annotations without a segmentation (cat0.png, cat1.png, cat2.png, ...)" in lines
    assert "left out: 1 annotation whose segmentation covers no pixel (empty.png)" in lines
    assert "left out: 9 images of which no annotation is left (cat0.png, cat1.png, cat2.png, ...)" in lines
    assert dataset(coco.folder / "made").split("test").metadata.masks is not None


def test_an_object_with_a_mask_and_an_unusable_box_has_the_box_of_its_mask(tmp_path: Path) -> None:
    coco = Coco(tmp_path)
    for index in range(4):
        coco.add(f"{index}.png", SQUARE | {"bbox": [5, 5, 0, 0]})
    assert "boxed by the segmentation: 4 annotations without a usable box (0.png, 1.png, 2.png, ...)" in coco.make()
    boxes = dataset(tmp_path / "made").split("test").metadata.boxes
    assert boxes is not None and boxes[0].tolist() == [[2, 3, 11, 10]]


def test_masks_that_nobody_drew(coco: Coco) -> None:
    with pytest.raises(InputError, match="no annotation has a segmentation; take the boxes with masks=off"):
        coco.make(masks="on")


def test_the_box_of_an_annotation_without_one_is_that_of_its_outline(coco: Coco) -> None:
    coco.add("x.png", {"segmentation": [[4, 5, 9, 5, 9, 8, 4, 8]]})
    assert "boxed by the segmentation: 1 annotation without a usable box (x.png)" in coco.make(masks="off")
    assert coco.boxes()["x.png"] == [[4, 5, 8, 7]]


def test_ids_may_be_text(coco: Coco) -> None:
    for key in ("images", "categories"):
        for entry in coco.content[key]:
            entry["id"] = f"k{entry['id']}"
    for found in coco.content["annotations"]:
        found |= {"image_id": f"k{found['image_id']}", "category_id": f"k{found['category_id']}"}
    coco.make()
    assert len(coco.boxes()) == 8


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c["annotations"][1].update(image_id=77), "annotations.1: image_id 77 is the id of no image"),
        (lambda c: c["annotations"][1].update(category_id=7), "annotations.1: category_id 7 is the id of no category"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3]), "annotations.1.bbox: Value error, has 3 numbers"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, float("nan"), 3]), "annotations.1.bbox.2: Input should be a"),
        (
            lambda c: c["annotations"][1].update(bbox=[1e308, 0, 1e308, 5]),
            "annotations.1.bbox: Value error, has 1e+308,",
        ),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3]]), "annotations.1.segmentation: Value error"),
        (lambda c: c["images"][2].update(id=1), "images.2: the id 1 is there twice"),
        (lambda c: c["images"][2].update(file_name="cat0.png"), "images.2: cat0.png is listed before, at"),
        (lambda c: c["images"][2].update(width=float("nan")), "images.2.width: Input should be a"),
        (lambda c: c["categories"][1].update(id=90), "categories.1: the id 90 is there twice"),
        (lambda c: c["categories"][1].update(name=" "), "the class name '' is empty"),
        (lambda c: c["categories"][1].update(name="a\nb"), "the class name 'a\\nb' is empty, not of one line"),
        (lambda c: c.update(annotations={}), "annotations: Input should be a valid array"),
        (lambda c: c.pop("categories"), "categories: Field required; an instances JSON of COCO has images"),
    ],
)
def test_what_is_refused_has_its_place(change: Any, problem: str, coco: Coco) -> None:
    change(coco.content)
    with pytest.raises(InputError) as caught:
        coco.make()
    assert f"{coco.folder}/i.json: " in str(caught.value) and problem in str(caught.value)
    assert "\n" not in str(caught.value) and not (coco.folder / "made").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"images": [{"id": 1, "file', "Invalid JSON: EOF while parsing a string at line 1 column 27"),
        (b"[1, 2]", "Input should be an object"),
        (b"", "Invalid JSON: EOF"),
        (b"[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        (b'{"images": ' + b"9" * 10_000 + b"}", "Invalid JSON: number out of range at line 1"),
    ],
)
def test_files_that_are_no_instances_json(content: bytes, problem: str, coco: Coco) -> None:
    settings = coco.settings()
    Path(settings["annotations"]).write_bytes(content)
    coco.settings = lambda **more: settings  # type: ignore[method-assign]
    with pytest.raises(InputError) as caught:
        coco.make()
    assert str(caught.value).startswith(f"{coco.folder}/i.json: {problem}") and "\n" not in str(caught.value)
