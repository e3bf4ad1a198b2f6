"""Seeds of foreground and background: thresholds, erosion and draws."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wsol.methods import f_cam
from wsol.normalizers.min_max import min_max
from wsol.ops import seeds


def slow_otsu(levels: np.ndarray) -> int:
    """Every threshold, exactly."""
    best, best_value = 0, Fraction(0)
    for threshold in range(256):
        low, high = levels[levels <= threshold].astype(int), levels[levels > threshold].astype(int)
        if len(low) and len(high):
            distance = Fraction(int(low.sum()), len(low)) - Fraction(int(high.sum()), len(high))
            value = len(low) * len(high) * distance**2
            if value > best_value:
                best, best_value = threshold, value
    return best


def test_otsu_is_the_best_of_all_thresholds() -> None:
    random = np.random.default_rng(0)
    images = [
        np.clip(random.normal(random.integers(0, 255), random.integers(1, 60), (9, 11)), 0, 255).astype(int)
        for _ in range(20)
    ]
    images += [
        random.choice([3, 200], (9, 11)),
        random.choice([0, 1], (9, 11)),
        random.choice([254, 255], (9, 11)),
        np.full((9, 11), 7),
    ]
    found = seeds.otsu(torch.from_numpy(np.stack(images)))
    assert found.tolist() == [slow_otsu(image) for image in images]
    assert found.tolist()[-4:] == [3, 0, 254, 0]


def test_otsu_is_that_of_opencv() -> None:
    maps = torch.rand(30, 16, 16, generator=torch.Generator().manual_seed(0)) ** 3 * 255
    expected = [cv2.threshold(image.byte().numpy(), 0, 255, cv2.THRESH_OTSU)[0] for image in maps]
    assert seeds.otsu(maps.long()).tolist() == expected


@pytest.mark.parametrize("size", [1, 3, 11])
def test_erosion_and_dilation_are_those_of_opencv(size: int) -> None:
    masks = (
        torch.rand(6, 40, 30, generator=torch.Generator().manual_seed(0))
        < torch.tensor([0.001, 0.01, 0.05, 0.95, 0.99, 0.999])[:, None, None]
    )
    square = np.ones((size, size), np.uint8)
    dilated = [cv2.dilate(mask.numpy().astype(np.uint8), square) for mask in masks]
    assert np.array_equal(seeds.dilate(masks, size).numpy(), np.stack(dilated))
    eroded = [cv2.erode(mask.numpy().astype(np.uint8), square) for mask in masks]
    kept = [
        shrunk if shrunk.any() else mask.numpy() for shrunk, mask in zip(eroded, masks, strict=True)
    ]  # what would vanish stays
    assert np.array_equal(seeds.erode(masks, size).numpy(), np.stack(kept))


def blob(size: int = 224) -> Tensor:
    """One smooth object (1, H, W), brought to [0, 1] on 28x28 cells and enlarged."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    cells = min_max(torch.exp(-((x - 10) ** 2 / 18 + (y - 16) ** 2 / 40))[None])
    return F.interpolate(cells[None], size=(size, size), mode="bilinear", align_corners=False)[0]


def test_pools_of_a_blob() -> None:
    """Numbers of the published code."""
    levels = (blob() * 255).long()
    assert seeds.otsu(levels).item() == 79
    objects = levels > 79
    assert objects.sum() == 6280 and seeds.erode(objects, 11).sum() == 4556
    background = seeds.lowest(blob(), 0.1)
    assert background.sum() == 5017 and blob()[background].max() <= blob()[~background].min()


def draws(scores: Tensor, **changed: float) -> Tensor:
    settings = {"foreground": 1, "background": 1, "background_pool": 0.1, "erosion_size": 11, "seed_size": 3, **changed}
    return seeds.draw_seeds(scores, **settings)


def test_seeds_lie_in_their_pools_and_are_drawn_anew() -> None:
    torch.manual_seed(0)
    scores = blob(224).expand(8, -1, -1)
    first, second = (
        draws(scores, seed_size=1, foreground=5, background=7),
        draws(scores, seed_size=1, foreground=5, background=7),
    )
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])  # each image for itself
    assert ((first == 1).sum((1, 2)) == 5).all() and ((first == 0).sum((1, 2)) == 7).all()
    assert seeds.erode((scores * 255).long() > 79, 11)[first == 1].all() and seeds.lowest(scores, 0.1)[first == 0].all()
    state = torch.get_rng_state()
    again = draws(scores)
    torch.set_rng_state(state)
    assert torch.equal(draws(scores), again)


def test_seeds_become_squares() -> None:
    torch.manual_seed(0)
    for labels in (draws(blob()), draws(blob(), seed_size=5)):
        for label in (0, 1):
            rows, columns = (labels[0] == label).nonzero().T
            side = 3 if len(rows) <= 9 else 5
            assert rows.max() - rows.min() < side and columns.max() - columns.min() < side
    assert (draws(blob()) == 1).sum() == 9  # the object touches no border


def test_where_object_and_background_meet_nothing_is_said() -> None:
    scores = torch.zeros(1, 4, 4)
    scores[0, :, 2:] = 1
    labels = draws(scores, foreground=16, background=16, background_pool=0.5, erosion_size=1)
    assert labels[0].tolist() == [[0, 255, 255, 1]] * 4


@pytest.mark.parametrize("count", [1, 3, 40])
def test_draws_are_uniform(count: int) -> None:
    torch.manual_seed(0)
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:4, 2:] = True  # 12 pixels
    drawn = seeds.draw(mask.expand(4000, -1, -1), count)
    assert (drawn.sum((1, 2)) == min(count, 12)).all() and not drawn[:, ~mask].any()
    assert drawn[:, mask].float().mean(0).tolist() == pytest.approx([min(count / 12, 1)] * 12, abs=0.04)


def test_a_map_that_says_nothing_has_no_seeds() -> None:
    labels = draws(torch.stack((torch.zeros(32, 32), torch.full((32, 32), 0.7))))
    assert (labels == seeds.IGNORED).all()
    scores = torch.randn(2, 2, 32, 32, requires_grad=True)
    loss = f_cam.seed_loss(scores, labels)
    loss.backward()
    assert loss == 0 and (scores.grad == 0).all()


def test_the_loss_of_seeds_is_a_mean_over_pixels() -> None:
    scores, labels = torch.randn(3, 2, 8, 8), torch.full((3, 8, 8), 255)
    labels[0, :2], labels[2, 5] = 1, 0
    expected = F.cross_entropy(scores.permute(0, 2, 3, 1)[labels != 255], labels[labels != 255])
    torch.testing.assert_close(f_cam.seed_loss(scores, labels), expected)
