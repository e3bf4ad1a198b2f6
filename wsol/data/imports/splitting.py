"""Splits images into those for training, for choosing hyperparameters, and for the test: as listed, or drawn per
class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from wsol.data.dataset import seeded_generator
from wsol.data.imports.annotations import POOL, SPLITS
from wsol.data.imports.selecting import Chosen
from wsol.errors import InputError, listed

Parts = dict[str, list[Chosen]]


def split(chosen: Sequence[Chosen], shares: Mapping[str, float], names: Mapping[str, str], seed: int) -> Parts:
    """The images of train, val and test, each in the given order.

    The draw of a class depends only on the seed, its name and its images; the draw of test does not depend on the share
    of val. A share is rounded to the nearest number of images; every class keeps one image for training.

    Args:
        chosen: all images.
        shares: `val` or `test` -> share of each class's images in `POOL`.
        names: category -> class name.
        seed: random seed of the draw.

    Raises:
        InputError: a split would be empty.
    """
    split_of = {found.image: found.listed.split or "train" for found in chosen}
    pools: dict[str, list[str]] = {}
    for found in chosen:
        if found.listed.split == POOL:
            pools.setdefault(found.category, []).append(found.image)
    for category, images in pools.items():
        generator = seeded_generator("import", seed, names[category])
        order = torch.randperm(len(images), generator=generator).tolist()
        tested = _count(len(images), shares.get("test", 0.0), len(images) - 1)
        chosen_on = _count(len(images), shares.get("val", 0.0), len(images) - 1 - tested)
        split_of |= {images[position]: "test" for position in order[:tested]}
        split_of |= {images[position]: "val" for position in order[tested : tested + chosen_on]}
    parts: Parts = {name: [found for found in chosen if split_of[found.image] == name] for name in SPLITS}
    for name, part in parts.items():
        if not part:
            largest = max(map(len, pools.values()), default=0)
            raise InputError(f"{name} has no image; the largest class to draw from has {largest}: {_remedy(name)}")
    return parts


def notes(parts: Parts, shares: Mapping[str, float], names: Mapping[str, str], seed: int) -> list[str]:
    """How many images each split has and why, and which classes a split lacks."""
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    drawn = ", ".join(f"{name}={share:g}" for name, share in shares.items())
    how = f"{drawn} of each class, drawn by seed={seed}" if shares else "as listed"
    lines = [f"splits: {counts} images; {how}"]
    for name, part in parts.items():
        there = {found.category for found in part}
        if missing := [names[category] for category in names if category not in there]:
            lines.append(f"note: {name} has no image of {len(missing)} of {len(names)} classes ({listed(missing)})")
    return lines


def _count(images: int, share: float, most: int) -> int:
    return min(math.floor(images * share + 0.5), most)


def _remedy(name: str) -> str:
    if name == "train":
        return "give smaller shares, or images for training"
    return f"give more images, a larger share {name}=..., or what lists its images"
