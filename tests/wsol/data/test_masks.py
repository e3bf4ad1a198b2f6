"""Masks on the evaluation grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wsol.data import masks
from wsol.data.dataset import Split
from wsol.data.metadata import Metadata
from wsol.errors import InputError
from wsol.metric import Sample
from wsol.metrics import pxap


def mask_split(root: Path, masks: list[Image.Image], ignore: Image.Image) -> Split:
    for index, image in enumerate(masks):
        image.save(root / f"m{index}.png")
    ignore.save(root / "ignore.png")
    rows = ((tuple(f"m{index}.png" for index in range(len(masks))), "ignore.png"),)
    return Split("test", Metadata(root, ("x.png",), np.zeros(1, np.int64), None, None, rows), root, root, "x")


def grey(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8))


def test_mask_is_picked_at_floor_of_the_scaled_index(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for height, width, grid in ((7, 5, 4), (3, 10, 6), (224, 37, 224), (9, 9, 9)):
        pixels = (random.random((height, width)) < 0.4) * 255
        annotation = mask_split(tmp_path, [grey(pixels)], grey(np.zeros((2, 2)))).annotation(0, grid)
        expected = [
            [int(pixels[row * height // grid, column * width // grid] > 0) for column in range(grid)]
            for row in range(grid)
        ]
        assert (
            annotation.mask is not None and annotation.mask.dtype == np.uint8 and annotation.mask.tolist() == expected
        )
        assert annotation.boxes.shape == (0, 4) and annotation.image_size == (0, 0)


def test_mask_is_picked_as_opencv_picks() -> None:
    differ = []
    for side in (1, 2, 36, 223, 224, 225, 300, 768, 1024, 1063, 1600):
        line = np.arange(side, dtype=np.float64)[None]
        picked = cv2.resize(line, (224, 1), interpolation=cv2.INTER_NEAREST)[0]
        np.testing.assert_array_equal(masks.nearest(side, 224), picked)
        differ += [side] if (picked != np.arange(224) * side // 224).any() else []
    assert differ == [36, 300, 1600], "sides where OpenCV rounds an integer index down by one"


def test_instances_are_united_and_win_over_the_ignored_region(tmp_path: Path) -> None:
    first, second, ignore = (
        np.zeros((4, 4)),
        np.zeros((8, 8)),
        np.zeros((4, 4)),
    )  # files of one image may differ in size
    first[0, 0], second[6:, 6:], ignore[0, :2] = 255, 255, 255
    mask = mask_split(tmp_path, [grey(first), grey(second)], grey(ignore)).annotation(0, 4).mask
    assert mask is not None and mask.tolist() == [[1, 255, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_masks_of_every_png_kind_read_alike(tmp_path: Path) -> None:
    values = np.array([[0, 255], [255, 0]])
    color = np.stack([values] * 3, axis=2)
    transparent = np.concatenate([color, np.zeros((2, 2, 1))], axis=2)  # alpha does not count
    palette = grey(values > 0)
    palette = Image.frombytes("P", palette.size, palette.tobytes())
    palette.putpalette([0, 0, 0, 255, 255, 255])
    for image in (grey(values), grey(values).convert("1"), grey(color), grey(transparent), palette):
        mask = mask_split(tmp_path, [image], grey(np.zeros((2, 2)))).annotation(0, 2).mask
        assert mask is not None and mask.tolist() == [[0, 1], [1, 0]], image.mode


def test_smallest_grey_value_counts(tmp_path: Path) -> None:
    mask = mask_split(tmp_path, [grey(np.array([[0, 1]]))], grey(np.zeros((1, 1)))).annotation(0, 2).mask
    assert mask is not None and mask.tolist() == [[0, 1], [0, 1]]


def test_missing_mask_is_named(tmp_path: Path) -> None:
    split = mask_split(tmp_path, [grey(np.zeros((2, 2)))], grey(np.zeros((2, 2))))
    (tmp_path / "m0.png").unlink()
    with pytest.raises(InputError, match=r"m0\.png: no such mask"):
        split.annotation(0, 2)


@pytest.mark.parametrize("kind", ["16 bit grey", "16 bit colour", "16 bit colour and alpha", "32 bit", "float"])
def test_an_object_is_anything_above_0_at_the_files_own_depth(tmp_path: Path, kind: str) -> None:
    """Not of the upper 8 bits: masks that hold numbers of instances or classes begin at 1."""
    values = np.array([[0, 1], [0, 0]])
    image, ending = grey(values), "tiff" if kind in ("32 bit", "float") else "png"
    split = mask_split(tmp_path, [image], grey(np.zeros((2, 2))))
    path = tmp_path / "m0.png"
    if "colour" in kind:
        alpha = [np.full((2, 2), 65535)] if "alpha" in kind else []
        made = cv2.imencode(".png", np.stack([values * 0, values * 0, values, *alpha], 2).astype(np.uint16))[1]
        path.write_bytes(bytes(made))
    else:
        kinds = {"16 bit grey": np.uint16, "32 bit": np.int32, "float": np.float32}
        made = values / 1000 if kind == "float" else values
        Image.fromarray(made.astype(kinds[kind])).save(path, ending.upper())
    mask = split.annotation(0, 2).mask
    assert mask is not None and mask.tolist() == [[0, 1], [0, 0]]


def test_a_damaged_mask_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64))
    split = mask_split(tmp_path, [grey(noise)], grey(np.zeros((2, 2))))
    path = tmp_path / "m0.png"
    for content in (path.read_bytes()[:2000], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"m0\.png: the mask cannot be decoded \(.+\); replace the file"):
            split.annotation(0, 2)


def own_split(root: Path, image: Image.Image, masks: list[Image.Image], exif: int = 1) -> Split:
    """An image of the user's own with masks, and an ignored region of the same size as the first mask."""
    tag = Image.Exif()
    tag[274] = exif
    image.save(root / "x.png", exif=tag)
    made = mask_split(root, masks, grey(np.zeros(masks[0].size[::-1])))
    return Split("test", made.metadata, root, root, "x", displayed=True)


def test_a_mask_without_an_ignored_region_and_in_another_resolution(tmp_path: Path) -> None:
    split = own_split(tmp_path, Image.new("RGB", (40, 30)), [grey(np.eye(4)[:3])])
    (paths, _), *_ = split.metadata.masks or ()
    bare = Split("test", replace(split.metadata, masks=((paths, ""),)), tmp_path, tmp_path, "x", displayed=True)
    mask = bare.annotation(0, 12).mask
    assert mask is not None and (mask == 1).sum() == 36 and (mask == 0).sum() == 108


def test_a_mask_that_is_turned_against_its_image_is_named(tmp_path: Path) -> None:
    """Drawn on the stored pixels of an image with an EXIF orientation."""
    tall, wide = np.ones((40, 30)), np.ones((30, 40))
    own_split(tmp_path, Image.new("RGB", (40, 30)), [grey(tall)], exif=6).annotation(0, 8)
    with pytest.raises(InputError) as caught:
        own_split(tmp_path, Image.new("RGB", (40, 30)), [grey(wide)], exif=6).annotation(0, 8)
    assert str(caught.value) == (
        f"{tmp_path}/ignore.png: has 40 x 30 pixels, its image 30 x 40 as displayed: the mask is turned; images are"
        " read with their EXIF orientation: annotate them as displayed, or remove the orientation"
    )
    own_split(tmp_path, Image.new("RGB", (40, 30)), [grey(np.ones((20, 20)))], exif=6).annotation(0, 8)


def test_masks_of_16_bits_score_like_those_of_8(tmp_path: Path) -> None:
    """PxAP of two images, one with a mask whose object is 1 at 16 bits: it counted as an image without an object."""
    random, folders = np.random.default_rng(0), {}
    for kind in ("8 bit", "some 16 bit"):
        root = folders[kind] = tmp_path / kind
        root.mkdir()
        for index in range(2):
            mask = np.zeros((16, 16), np.uint16)
            mask[2 + index : 9, 3:12] = 1
            deep = kind != "8 bit" and index == 1
            Image.fromarray(mask if deep else (mask * 255).astype(np.uint8)).save(root / f"{index}.png")
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(root / "ignore.png")
    maps = [random.random((16, 16)) for _ in range(2)]
    scores = []
    for root in folders.values():
        rows = tuple(((f"{index}.png",), "ignore.png") for index in range(2))
        split = Split("test", Metadata(root, ("a", "b"), np.zeros(2, np.int64), None, None, rows), root, root, "x")
        metric = pxap.build(pxap.Config(), 0.01)
        for position, score_map in enumerate(maps):
            metric.update(Sample(score_map, split.annotation(position, 16), 0))
        scores.append(metric.compute())
    assert scores[0] == scores[1]
