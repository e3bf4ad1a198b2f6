"""Shares are drawn per class, by seed, and leave something to train on."""

from __future__ import annotations

import numpy as np
import pytest

from wsol.data.imports.annotations import POOL, Listed
from wsol.data.imports.selecting import Chosen
from wsol.data.imports.splitting import notes, split
from wsol.errors import InputError

NAMES = {"c": "cat", "d": "dog"}
BOXES = np.array([[0, 0, 1, 1]])


def images(split_name: str = POOL, **counts: int) -> list[Chosen]:
    """So many images of each class."""
    return [
        Chosen(f"{category}{index:02}", Listed("", (), (), split=split_name), (4, 4), category, BOXES)
        for category, count in counts.items()
        for index in range(count)
    ]


def names(part: list[Chosen]) -> list[str]:
    return [found.image for found in part]


def sizes(chosen: list[Chosen], **shares: float) -> dict[str, dict[str, int]]:
    """Split -> class -> number of images."""
    parts = split(chosen, shares, NAMES, 0)
    classes = sorted({found.category for found in chosen})
    return {
        name: {category: sum(found.category == category for found in part) for category in classes}
        for name, part in parts.items()
    }


def test_every_class_has_its_share() -> None:
    found = sizes(images(c=20, d=50), val=0.1, test=0.2)
    assert found == {"train": {"c": 14, "d": 35}, "val": {"c": 2, "d": 5}, "test": {"c": 4, "d": 10}}


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 0, 2)), (4, (1, 1, 2)), (5, (1, 1, 3))]
)
def test_small_classes_keep_an_image_to_train_on(count: int, expected: tuple[int, ...]) -> None:
    found = sizes(images(c=count, d=20), val=0.25, test=0.5)
    assert tuple(found[name]["c"] for name in ("train", "val", "test")) == expected


def test_the_draw_depends_on_the_seed_and_the_class_alone() -> None:
    both, alone = images(c=20, d=20), images(c=20)
    shares = {"val": 0.2, "test": 0.2}
    first = split(both, shares, NAMES, 0)
    assert first == split(both, shares, NAMES, 0) != split(both, shares, NAMES, 1)
    of_cats = {name: [image for image in names(part) if image[0] == "c"] for name, part in first.items()}
    assert of_cats == {name: names(part) for name, part in split(alone, shares, NAMES, 0).items()}
    assert [image[1:] for image in of_cats["test"]] != [image[1:] for image in names(first["test"]) if image[0] == "d"]
    other = split(both, {"val": 0.4, "test": 0.2}, NAMES, 0)
    assert other["test"] == first["test"] and {*names(first["val"])} < {*names(other["val"])}


def test_every_image_is_in_one_split_in_its_order() -> None:
    chosen = images(c=9, d=9)
    parts = split(chosen, {"val": 0.3, "test": 0.3}, NAMES, 3)
    found = [image for part in parts.values() for image in names(part)]
    assert sorted(found) == names(chosen) and all(names(part) == sorted(names(part)) for part in parts.values())


def test_what_is_listed_stays_where_it_is() -> None:
    tested = images("test", c=2)
    parts = split([*tested, *images(d=10)], {"val": 0.5}, NAMES, 0)
    assert parts["test"] == tested and len(parts["val"]) == 5
    lines = notes(parts, {"val": 0.5}, NAMES, 0)
    assert lines == [
        "splits: train 5, val 5, test 2 images; val=0.5 of each class, drawn by seed=0",
        "note: train has no image of 1 of 2 classes (cat)",
        "note: val has no image of 1 of 2 classes (cat)",
        "note: test has no image of 1 of 2 classes (dog)",
    ]


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        (
            images(c=2, d=1),
            "val has no image; the largest class to draw from has 2: give more images, a larger share val",
        ),
        (
            images("test", c=9),
            "train has no image; the largest class to draw from has 0: give smaller shares, or images",
        ),
    ],
)
def test_no_split_is_empty(chosen: list[Chosen], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        split(chosen, {"val": 0.2, "test": 0.2}, NAMES, 0)
    assert str(caught.value).startswith(problem)
