"""Masks on the evaluation grid."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wsol.data import dataset
from wsol.data.dataset import Split
from wsol.data.metadata import Metadata
from wsol.errors import InputError


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
        np.testing.assert_array_equal(dataset._nearest(side, 224), picked)
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
