"""`data check`: files, sizes, counts, and images in two splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.folders import SIZE, make
from wsol.data import metadata
from wsol.data.metadata import Metadata
from wsol.data.tree import check_tree
from wsol.datasets import folder
from wsol.errors import InputError


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


# ---------------------------------------------------------------- the user's own images


def own_data(root: Path, masks: dict[str, np.ndarray] | None = None, **images: Image.Image) -> folder.Config:
    """Images of the user's own, four a split, the named ones in test, with boxes or masks of the same names."""
    for split in ("train", "val", "test"):
        names = [f"{split}/{name}.png" for name in ("a", "b", "c", "d")]
        (root / "images" / split).mkdir(parents=True)
        for index, name in enumerate(names):
            image = images.get(Path(name).stem) if split == "test" else None
            exif = Image.Exif()
            exif[274] = (image.info if image else {}).get("turn", 1)
            (image or Image.new("RGB", SIZE, (index, 9, 9))).save(root / "images" / name, exif=exif)
            if masks is not None:
                made = masks.get(Path(name).stem) if split == "test" else None
                pixels = np.ones(SIZE[::-1], np.uint8) if made is None else made
                Image.fromarray(pixels).save(root / "images" / name.replace(".png", "_mask.png"))
        boxes = None if masks is not None else tuple(np.array([[0, 0, 5, 5]]) for _ in names)
        rows = None if masks is None else tuple(((name.replace(".png", "_mask.png"),), "") for name in names)
        sizes = None if masks is not None else np.array([SIZE] * 4)
        data = Metadata(root, tuple(names), np.arange(4), sizes, boxes, rows)
        metadata.write(root / "lists" / split, data)
    return folder.Config(root=str(root), images=str(root / "images"), metadata=str(root / "lists"))


def checked(config: folder.Config) -> tuple[list[str], str]:
    """The lines and the error of a check, without the folder of the test."""
    lines: list[str] = []
    try:
        check_tree(folder.build(config), lines.append)
    except InputError as error:
        return [line.replace(f"{config.images}/", "") for line in lines], str(error).replace(f"{config.images}/", "")
    return [line.replace(f"{config.images}/", "") for line in lines], ""


def turned(image: Image.Image, orientation: int) -> Image.Image:
    image.info["turn"] = orientation
    return image


def test_what_is_unusual_in_own_images_is_said_and_no_error(tmp_path: Path) -> None:
    deep = Image.fromarray(np.full(SIZE[::-1], 200, np.uint16))
    lines, error = checked(
        own_data(
            tmp_path,
            a=Image.new("L", SIZE),
            b=Image.new("L", SIZE, 255),
            c=turned(Image.new("RGB", SIZE[::-1], (1, 2, 3)), 6),
            d=deep,
        )
    )
    assert not error
    assert lines[2:] == [
        "folder test: 4 images, 4 classes, 4 boxes, 0 masks",
        "test: files of 1 of 4 images have an EXIF orientation; they are read as displayed:",
        "  test/c.png: EXIF orientation 6",
        "test: files of 3 of 4 images are all black or all white:",
        "  test/a.png: all black",
        "  test/b.png: all white",
        "  test/d.png: all black",
    ]


def test_own_photographs_are_never_to_be_deleted(tmp_path: Path) -> None:
    """Damaged ones, other sizes, sizes of the file as stored, empty files."""
    photograph, other = turned(Image.new("RGB", SIZE, (1, 2, 3)), 6), Image.new("RGB", (7, 7), (1, 2, 3))
    config = own_data(tmp_path, a=photograph, b=other)
    images = tmp_path / "images/test"
    (images / "c.png").write_bytes(b"")
    whole = Image.effect_noise(SIZE, 90)
    whole.save(images / "d.png")
    (images / "d.png").write_bytes((images / "d.png").read_bytes()[:-40])
    _, error = checked(config)
    assert error.splitlines() == [
        "folder: correct what is named here, or take its rows out of the metadata",
        "test: files of 4 of 4 images are damaged or other ones:",
        "  test/a.png: has 16 x 20 pixels, image_sizes.txt says 20 x 16, which fits the file without its EXIF"
        " orientation 6; annotate it as displayed, or remove the orientation",
        "  test/b.png: has 7 x 7 pixels, image_sizes.txt says 20 x 16",
        "  test/c.png: is empty",
        "  ... and 1 more",
    ]
    assert "delete" not in error and "prepare" not in error
    (images / "c.png").write_bytes((images / "b.png").read_bytes())
    for name in "ab":
        (images / f"{name}.png").unlink()
    _, error = checked(config)
    assert (
        "test/d.png: cannot be read (image file is truncated" in error and "files of 2 of 4 images are missing" in error
    )


def test_masks_without_an_object_of_another_aspect_and_turned(tmp_path: Path) -> None:
    ones = np.ones((12, 12), np.uint8)
    masks = {"a": np.zeros(SIZE[::-1], np.uint8), "b": np.ones((20, 16), np.uint8), "c": ones}
    lines, error = checked(own_data(tmp_path, {**masks, "d": np.eye(8, 10).astype(np.uint16)}))
    assert lines[2:] == [
        "folder test: 4 images, 4 classes, 0 boxes, 4 masks",
        "test: masks of 1 of 4 images have another aspect than their image; each is stretched to the whole image:",
        "  test/c_mask.png: 12 x 12 pixels, its image 20 x 16",
    ]
    assert error.splitlines()[1:] == [
        "test: files of 1 of 4 images are damaged or other ones:",
        "  test/b_mask.png: has 16 x 20 pixels, its image 20 x 16 as displayed: the mask is turned; images are read"
        " with their EXIF orientation: annotate them as displayed, or remove the orientation",
        "test: masks of 1 of 4 images have no pixel of an object:",
        "  test/a_mask.png: has no pixel above 0",
    ]


def test_a_damaged_mask_of_the_users_own(tmp_path: Path) -> None:
    config = own_data(tmp_path, {})
    (tmp_path / "images/test/b_mask.png").write_bytes(b"text")
    (tmp_path / "images/test/c_mask.png").unlink()
    _, error = checked(config)
    assert "test/b_mask.png: cannot be read (it is no image" in error and "test/c_mask.png: no such file" in error
