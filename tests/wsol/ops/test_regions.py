"""Outlines and run lengths, to the pixel as COCO's own code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.support import vectors
from wsol.ops.regions import decode_letters, outline_region, unroll


def numbers(recorded: Iterable[str], kind: str) -> list[str]:
    """Of all cases of a kind."""
    found = [name.removeprefix(f"{kind}_mask_") for name in recorded if name.startswith(f"{kind}_mask_")]
    assert found
    return found


@pytest.mark.parametrize("path", vectors.files("coco_regions"))
def test_recorded_outlines(path: Path) -> None:
    recorded = vectors.load(path)
    for number in numbers(recorded, "outline"):
        expected = recorded[f"outline_mask_{number}"]
        found = outline_region(recorded[f"outline_{number}"].tolist(), *expected.shape)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("path", vectors.files("coco_regions"))
def test_recorded_run_lengths(path: Path) -> None:
    recorded = vectors.load(path)
    for number in numbers(recorded, "runs"):
        expected = recorded[f"runs_mask_{number}"]
        counts = decode_letters(str(recorded[f"runs_{number}"]))
        np.testing.assert_array_equal(unroll(counts, *expected.shape), expected)


def test_a_rectangle_has_the_pixels_of_its_box() -> None:
    region = outline_region([2, 1, 5, 1, 5, 3, 2, 3], 4, 6)
    assert np.argwhere(region).tolist() == [[1, 2], [1, 3], [1, 4], [2, 2], [2, 3], [2, 4]]


@pytest.mark.parametrize("outline", [[], [1, 1], [1, 1, 4, 4], [9, 9, 12, 9, 12, 12]])
def test_what_is_no_polygon_in_the_image_has_no_pixel(outline: list[float]) -> None:
    assert not outline_region(outline, 5, 6).any()


def test_corners_far_away_are_cut() -> None:
    assert outline_region([-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300], 3, 4).all()


@pytest.mark.parametrize("counts", [[5], [3, -1, 10], [], [12, 1]])
def test_run_lengths_of_another_image(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="instead of 3 x 4"):
        unroll(counts, 3, 4)


@pytest.mark.parametrize(
    ("text", "problem"), [("a b", "has ' '|have ' '"), ("P", "end within"), ("p" * 9, "not of their code")]
)
def test_letters_that_are_no_run_lengths(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_letters(text)
