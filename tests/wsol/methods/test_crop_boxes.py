"""CropCAM: its boxes and pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from wsol.normalizers.min_max import min_max
from wsol.ops import crop


def rectangles(*boxes: tuple[int, int, int, int], side: int = 28) -> Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    for x, y, w, h in boxes:
        mask[0, y : y + h, x : x + w] = True
    return mask


def test_boxes_of_two_components() -> None:
    mask = rectangles((18, 20, 6, 4), (4, 3, 3, 3))
    assert crop.enclosing_boxes(mask).tolist() == [[4, 3, 20, 21]]
    assert crop.legacy_boxes(mask).tolist() == [[4, 3, 6, 4]]


@pytest.mark.parametrize("find", [crop.enclosing_boxes, crop.legacy_boxes])
def test_box_without_cells_is_the_whole_map(find) -> None:
    masks = torch.zeros(2, 5, 7, dtype=torch.bool)
    masks[1, 4, 6] = True
    assert find(masks).tolist() == [[0, 0, 7, 5], [6, 4, 1, 1]]


def contour_boxes(mask: np.ndarray) -> list[int]:
    """The released rule on OpenCV's contours, in their order."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    x, y, w, h = cv2.boundingRect(contours[0])
    for contour in contours[1:]:
        left, top, width, height = cv2.boundingRect(contour)
        x, y = min(x, left), min(y, top)
        w, h = max(w, left + width - x), max(h, top + height - y)
    return [x, y, w, h]


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.6])
def test_boxes_on_random_masks(density: float) -> None:
    masks = torch.rand(60, 14, 11, generator=torch.Generator().manual_seed(0)) < density
    masks = masks[masks.flatten(1).any(1)]
    assert crop.legacy_boxes(masks).tolist() == [contour_boxes(mask) for mask in masks.numpy()]
    expected = [[*(f := mask.nonzero().amin(0).flip(0)), *(mask.nonzero().amax(0).flip(0) - f + 1)] for mask in masks]
    assert crop.enclosing_boxes(masks).tolist() == [[int(value) for value in box] for box in expected]


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((24, 4, 4, 20), (16, 4, 12, 20)),
        ((0, 4, 4, 20), (0, 4, 20, 20)),
        ((5, 5, 6, 7), (4, 5, 7, 7)),
        ((10, 0, 3, 28), (0, 0, 28, 28)),
        ((20, 10, 8, 4), (20, 8, 8, 8)),
        ((1, 20, 10, 5), (1, 17, 10, 10)),
        ((4, 3, 20, 21), (3, 3, 21, 21)),
    ],
)
def test_squares_of_the_reference(box: tuple[int, ...], square: tuple[int, ...]) -> None:
    assert crop.squared(torch.tensor([box]), (28, 28)).tolist() == [list(square)]


def test_zoom_sees_only_its_box() -> None:
    images = torch.randn(2, 3, 16, 16)
    boxes = torch.tensor([[4, 8, 6, 3], [0, 0, 16, 16]])
    zoomed = crop.zoom(images, boxes)
    torch.testing.assert_close(zoomed[1], images[1])
    outside = torch.ones(16, 16).bool()
    outside[8:11, 4:10] = False
    assert torch.equal(zoomed[0], crop.zoom(images.masked_fill(outside, 9.0), boxes)[0])


def test_paste_normalises_inside_its_box_and_leaves_single_cells() -> None:
    maps, inside = torch.rand(3, 8, 8), torch.randn(3, 8, 8)
    inside[2] = float("nan")
    pasted = crop.paste(maps, inside, torch.tensor([[2, 3, 4, 2], [5, 5, 1, 1], [0, 0, 8, 8]]), min_max)
    region = pasted[0, 3:5, 2:6]
    assert (region.min(), region.max()) == (0, 1)
    changed = pasted[0] != maps[0]
    changed[3:5, 2:6] = False
    assert not changed.any() and torch.equal(pasted[1], maps[1]) and not pasted[2].any()


def test_boxes_of_cells_that_do_not_divide_the_image() -> None:
    boxes = torch.tensor([[0, 0, 3, 7], [6, 2, 1, 1]])
    assert crop.rescaled(boxes, (7, 7), (100, 50)).tolist() == [[0, 0, 21, 100], [42, 28, 8, 14]]
