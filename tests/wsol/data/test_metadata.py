"""The strict reader: every defect of the four files has a message with file, line and remedy; what is written is read
again."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsol.data import metadata
from wsol.errors import InputError

GOOD = {
    "image_ids.txt": "a/1.jpg\nb/2.jpg\na/3.jpg",
    "class_labels.txt": "a/1.jpg,0\nb/2.jpg,1\na/3.jpg,0",
    "image_sizes.txt": "a/1.jpg,100,50\nb/2.jpg,30,40\na/3.jpg,64,64",
    "localization.txt": "a/1.jpg,0,0,99,49\nb/2.jpg,5,6,5,6\na/3.jpg,1,2,3,4\nb/2.jpg,0,0,29,39",
}
MASKS = "a/1.jpg,1_m0.png,1_ignore.png\na/1.jpg,1_m1.png,\nb/2.jpg,2_m0.png,2_ignore.png\na/3.jpg,3_m0.png,3_ignore.png"


def put(folder: Path, **changes: str | None) -> Path:
    """The good files, some replaced (or left out with None); keywords are file names without the ending."""
    folder.mkdir(exist_ok=True)
    for name, text in {**GOOD, **{f"{key}.txt": value for key, value in changes.items()}}.items():
        if text is not None:
            (folder / name).write_text(text)
    return folder


def test_reads_boxes_in_the_order_of_the_ids(tmp_path: Path) -> None:
    read = metadata.read(put(tmp_path), annotated=True, num_classes=2)
    assert read.image_ids == ("a/1.jpg", "b/2.jpg", "a/3.jpg")
    assert read.labels.tolist() == [0, 1, 0] and read.labels.dtype == np.int64
    assert read.sizes is not None and read.sizes.tolist() == [[100, 50], [30, 40], [64, 64]]
    assert read.boxes is not None and [boxes.tolist() for boxes in read.boxes] == [
        [[0, 0, 99, 49]],
        [[5, 6, 5, 6], [0, 0, 29, 39]],
        [[1, 2, 3, 4]],
    ]
    assert read.masks is None


def test_reads_masks_without_sizes(tmp_path: Path) -> None:
    for sizes in ("", None):
        read = metadata.read(put(tmp_path / str(sizes), image_sizes=sizes, localization=MASKS), annotated=True)
        assert read.boxes is None and read.sizes is None
        assert read.masks == (
            (("1_m0.png", "1_m1.png"), "1_ignore.png"),
            (("2_m0.png",), "2_ignore.png"),
            (("3_m0.png",), "3_ignore.png"),
        )


def test_training_split_needs_labels_only(tmp_path: Path) -> None:
    read = metadata.read(put(tmp_path, image_sizes=None, localization=None), annotated=False)
    assert read.sizes is None and read.boxes is None and read.masks is None


def test_training_split_never_sees_boxes(tmp_path: Path) -> None:
    assert metadata.read(put(tmp_path), annotated=False).boxes is None


def test_subset_list_byte_order_mark_crlf_and_trailing_blank_lines(tmp_path: Path) -> None:
    read = metadata.read(put(tmp_path, image_ids="\ufeffb/2.jpg\r\na/1.jpg\r\n\n \n"), annotated=True)
    assert read.image_ids == ("b/2.jpg", "a/1.jpg") and read.labels.tolist() == [1, 0]


DEFECTS = [
    ({"image_ids": None}, "image_ids.txt: no such file; a split needs"),
    ({"class_labels": None}, "class_labels.txt: no such file"),
    ({"image_sizes": None}, "image_sizes.txt: no such file"),
    ({"localization": None}, "localization.txt: no such file"),
    ({"image_ids": ""}, "image_ids.txt: no image is listed"),
    ({"image_ids": "\n\n"}, "image_ids.txt: no image is listed"),
    ({"image_ids": "a/1.jpg\n\nb/2.jpg"}, "image_ids.txt:2: empty line"),
    ({"image_ids": "a/1.jpg\nb/2.jpg\na/1.jpg"}, "image_ids.txt:3: a/1.jpg is listed twice"),
    ({"image_ids": "a/1.jpg\nb/2,2.jpg"}, "image_ids.txt:2: 2 fields instead of 1"),
    (
        {"image_ids": "a/1.jpg\nc.jpg\nd.jpg"},
        "class_labels.txt: no class label for c.jpg (image_ids.txt:2), and 2 of 3 images have none",
    ),
    (
        {"class_labels": "a/1.jpg,0\nb/2.jpg"},
        "class_labels.txt:2: 1 field instead of 2; rows are <image id>,<label>; the file may be cut short",
    ),
    ({"class_labels": "a/1.jpg,0\nb/2.jpg,1\na/3.jpg,one"}, "class_labels.txt:3: the class label 'one' is no integer"),
    ({"class_labels": "a/1.jpg,0\nb/2.jpg,1\na/3.jpg,"}, "class_labels.txt:3: the class label '' is no integer"),
    ({"class_labels": "a/1.jpg,0\nb/2.jpg,-1\na/3.jpg,0"}, "class_labels.txt:2: class label -1 is negative"),
    (
        {"class_labels": "a/1.jpg,0\nb/2.jpg,2\na/3.jpg,0"},
        "class_labels.txt:2: class label 2 is too large: with 2 classes labels are 0 to 1",
    ),
    ({"class_labels": "a/1.jpg,0\nb/2.jpg,1\na/3.jpg,0\nb/2.jpg,1"}, "class_labels.txt:4: b/2.jpg is listed twice"),
    ({"class_labels": ",0"}, "class_labels.txt:1: the image id is empty"),
    ({"image_sizes": "a/1.jpg,100,50\nb/2.jpg,30,40"}, "image_sizes.txt: no image size for a/3.jpg (image_ids.txt:3)"),
    (
        {"image_sizes": "a/1.jpg,100,50\nb/2.jpg,0,40\na/3.jpg,9,9"},
        "image_sizes.txt:2: image size 0 x 40 is not positive",
    ),
    ({"image_sizes": "a/1.jpg,100,50\nb/2.jpg,3_0,40"}, "image_sizes.txt:2: the width '3_0' is no integer"),
    ({"localization": ""}, "localization.txt: no box for a/1.jpg (image_ids.txt:1), and 3 of 3"),
    ({"localization": "a/1.jpg,0,0,9,9\nb/2.jpg,0,0,9,9"}, "localization.txt: no box for a/3.jpg"),
    ({"localization": "a/1.jpg,0,0,9,9\nb/2.jpg,0,0,9,9\na/3.jpg,0,0"}, "localization.txt:3: 3 fields instead of 5"),
    ({"localization": "a/1.jpg,0,0,9,1.5"}, "localization.txt:1: the box corner '1.5' is no integer"),
    (
        {"localization": "a/1.jpg,0,0,100,49"},
        "localization.txt:1: the box 0,0,100,49 leaves its image a/1.jpg of 100 x 50 pixels",
    ),
    ({"localization": "a/1.jpg,0,0,99,50"}, "localization.txt:1: the box 0,0,99,50 leaves its image"),
    ({"localization": "a/1.jpg,-1,0,9,9"}, "localization.txt:1: the box -1,0,9,9 leaves its image"),
    ({"localization": "a/1.jpg,9,0,8,9"}, "localization.txt:1: the box 9,0,8,9 of a/1.jpg is reversed"),
    (
        {"localization": MASKS.replace("1_m1.png,", "1_m1.png,other.png")},
        "localization.txt:2: a second ignore path for a/1.jpg",
    ),
    (
        {"localization": MASKS.replace("1_ignore.png", "").replace("1_m1.png,", "1_m1.png,late.png")},
        "localization.txt:2: a second ignore path for a/1.jpg; only the first row",
    ),
    ({"localization": MASKS.replace("2_m0.png", "")}, "localization.txt:3: the mask path of b/2.jpg is empty"),
    ({"localization": MASKS.replace(",1_m1.png,", ",1_m1.png")}, "localization.txt:2: 2 fields instead of 3"),
    ({"localization": MASKS.rsplit("\n", 1)[0]}, "localization.txt: no mask for a/3.jpg (image_ids.txt:3)"),
]


OUTSIDE = [
    "/etc/passwd",
    "../1.jpg",
    "a/../../1.jpg",
    "a/..",
    "a//1.jpg",
    "./1.jpg",
    "a/",
    "a\\1.jpg",
    "a/1\0.jpg",
    "a\t.jpg",
]
DEFECTS += [({"image_ids": f"a/1.jpg\n{name}"}, f"image_ids.txt:2: {name!r} is no path inside of") for name in OUTSIDE]
DEFECTS += [
    ({"localization": MASKS.replace("2_m0.png", name)}, f"localization.txt:3: {name!r} is no path inside of")
    for name in OUTSIDE
]
DEFECTS += [
    ({"localization": MASKS.replace("2_ignore.png", "../x")}, "localization.txt:3: '../x' is no path inside of"),
    ({"class_labels": f"a/1.jpg,{10**20}"}, f"class_labels.txt:1: the class label '{10**20}' is too large"),
    ({"class_labels": "a/1.jpg," + "9" * 5000}, "class_labels.txt:1: the class label '9999"),
    ({"image_sizes": f"a/1.jpg,{10**20},1"}, f"image_sizes.txt:1: the width '{10**20}' is too large"),
]


@pytest.mark.parametrize(("changes", "message"), DEFECTS, ids=[message[:60] for _, message in DEFECTS])
def test_defects_are_named(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/{message}")):
        metadata.read(put(tmp_path, **changes), annotated=True, num_classes=2)


@pytest.mark.parametrize(
    ("localization", "ignored"),
    [
        ("a/1.jpg,1.png\nb/2.jpg,2.png\na/1.jpg,1b.png\na/3.jpg,3.png", ["", "", ""]),
        ("a/1.jpg,1.png,\nb/2.jpg,2.png,i.png\na/1.jpg,1b.png,\na/3.jpg,3.png,", ["", "i.png", ""]),
    ],
    ids=["two columns", "an empty third field"],
)
def test_masks_need_no_ignored_region(tmp_path: Path, localization: str, ignored: list[str]) -> None:
    read = metadata.read(put(tmp_path / "first", localization=localization), annotated=True)
    assert read.masks == (
        (("1.png", "1b.png"), ignored[0]),
        (("2.png",), ignored[1]),
        (("3.png",), ignored[2]),
    )
    metadata.write(tmp_path / "second", read)
    assert metadata.read(tmp_path / "second", annotated=True).masks == read.masks


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_files_that_an_editor_saved_with_a_mark(tmp_path: Path, encoding: str) -> None:
    put(tmp_path)
    for path in tmp_path.iterdir():
        mark = "\ufeff" if encoding.endswith("e") else ""
        path.write_bytes((mark + path.read_text()).replace("\n", "\r\n").encode(encoding))
    read = metadata.read(tmp_path, annotated=True)
    assert read.image_ids == ("a/1.jpg", "b/2.jpg", "a/3.jpg") and read.labels.tolist() == [0, 1, 0]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "class_labels.txt").write_bytes(b"a/1.jpg,\xff\xfe")
    with pytest.raises(InputError, match=r"class_labels\.txt: cannot be read as UTF-8"):
        metadata.read(tmp_path, annotated=True)


@pytest.mark.parametrize("localization", [GOOD["localization.txt"], MASKS], ids=["boxes", "masks"])
def test_what_is_written_is_read_again(tmp_path: Path, localization: str) -> None:
    first = metadata.read(put(tmp_path / "first", localization=localization), annotated=True)
    metadata.write(tmp_path / "second", first)
    second = metadata.read(tmp_path / "second", annotated=True)
    metadata.write(tmp_path / "second", second)  # over itself
    assert second.image_ids == first.image_ids and (second.labels == first.labels).all()
    assert second.masks == first.masks
    for ours, theirs in zip(second.boxes or (), first.boxes or (), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == sorted(GOOD)
    assert (tmp_path / "second" / "image_ids.txt").read_text() == GOOD["image_ids.txt"], (
        "no newline after the last row, like the published files"
    )


def test_training_split_is_written_with_empty_files(tmp_path: Path) -> None:
    metadata.write(tmp_path / "new", metadata.read(put(tmp_path / "old", image_sizes=None), annotated=False))
    assert (
        (tmp_path / "new" / "localization.txt").read_text() == (tmp_path / "new" / "image_sizes.txt").read_text() == ""
    )


def test_boxes_may_have_masks_beside_them(tmp_path: Path) -> None:
    folder = put(tmp_path)
    boxes = metadata.read(folder, annotated=True)
    (folder / "masks.txt").write_text("a/1.jpg,m1.png\nb/2.jpg,m2.png\na/3.jpg,m3.png\nb/2.jpg,m4.png")
    both = metadata.read(folder, annotated=True)
    assert both.masks == ((("m1.png",), ""), (("m2.png", "m4.png"), ""), (("m3.png",), ""))
    assert both.boxes is not None and boxes.boxes is not None and boxes.masks is None
    assert [one.tolist() for one in both.boxes] == [one.tolist() for one in boxes.boxes]
    assert metadata.read(folder, annotated=False).masks is None, "a training split never sees masks"


@pytest.mark.parametrize("kinds", ["boxes", "masks", "both"])
def test_boxes_masks_and_both_are_written_and_read_again(kinds: str, tmp_path: Path) -> None:
    """Over files of another kind, which do not stay."""
    folder = put(tmp_path)
    (folder / "masks.txt").write_text("a/1.jpg,m1.png,i.png\nb/2.jpg,m2.png,\na/3.jpg,m3.png,")
    both = metadata.read(folder, annotated=True)
    parts = {"boxes": replace(both, masks=None), "masks": replace(both, boxes=None), "both": both}
    metadata.write(folder, parts[kinds])
    again = metadata.read(folder, annotated=True)
    assert again.masks == (None if kinds == "boxes" else both.masks)
    assert (again.boxes is None) == (kinds == "masks") and (folder / "masks.txt").exists() == (kinds == "both")


@pytest.mark.parametrize(
    ("masks", "localization", "message"),
    [
        ("a/1.jpg,m.png", None, r"masks\.txt: no mask for b/2\.jpg \(image_ids\.txt:2\), and 2 of 3 images have none"),
        ("", None, r"masks\.txt: no mask for a/1\.jpg"),
        ("a/1.jpg,../m.png", None, r"masks\.txt:1: '\.\./m\.png' is no path inside"),
        ("a/1.jpg,0,0,9,9", None, r"masks\.txt:1: 5 fields instead of 3; rows are <image id>,<mask path>"),
        ("a/1.jpg,m.png", MASKS, r"masks\.txt: localization\.txt beside it has masks already"),
    ],
)
def test_defects_of_the_masks_beside_boxes(masks: str, localization: str | None, message: str, tmp_path: Path) -> None:
    folder = put(tmp_path, **({} if localization is None else {"localization": localization}))
    (folder / "masks.txt").write_text(masks)
    with pytest.raises(InputError, match=message):
        metadata.read(folder, annotated=True)
