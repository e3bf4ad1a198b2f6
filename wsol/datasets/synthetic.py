"""Rendered images with exact boxes and masks: a whole search runs on a laptop, without a download.

*Images.* One object on a textured background with clutter. The object is a body with a head that sticks out of it in
any direction. All classes share the body; the class can be seen in a small patch of two colours and a pattern on the
head, and faintly in the tint of the body. A classifier therefore only needs the patch, and its map covers too little of
the object, as in real data; using the rest is possible, but has to be learned. Boxes cover 10 to 60 % of the image and
are mostly off-centre.

*Layout.* `<root>/synthetic-<hash of the settings>/`: `{train,val,test}/<class>/<n>.png`, masks and ignored borders
beside the images of val and test, `metadata/` with boxes and `metadata_masks/` with masks. It is rendered when it is
first used, in seconds.

*Reproducible.* Pixels, boxes and masks are the same on every machine and NumPy version: only integer arithmetic, and
draws from `numpy.random.RandomState`, whose streams are frozen. (The draws of training are torch's, as everywhere.)

*Licence.* None needed: nothing is taken from elsewhere.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS, Dataset, Sizes
from wsol.data.metadata import Metadata
from wsol.data.tree import check_tree
from wsol.schema import DatasetConfig

FORMAT = 1
"""Version of the renderer; raise it whenever a rendered pixel changes, so that the folder gets another name and old
results are not mixed with new ones."""

PATCH_COLORS = (
    ("red", (225, 40, 40)),
    ("green", (40, 190, 60)),
    ("blue", (50, 80, 230)),
    ("yellow", (235, 215, 40)),
    ("magenta", (215, 50, 205)),
    ("cyan", (40, 205, 215)),
)
PATTERNS = ("checks", "rows", "columns", "diagonals")
SIZE_RANGES = ((10, 22), (22, 38), (38, 60))
"""Percent of the image that the box of a small, medium and large object covers; every third image is small."""

Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Config(DatasetConfig):
    """Rendered data.

    Attributes:
        classes: number of classes, each a combination of patch colour and pattern.
        train_images: images per class of train_weaksup.
        fullsup_images: images per class of train_fullsup.
        test_images: images per class of test.
        side: pixels of the rendered squares.
        seed: random seed of the rendering.
        annotations: the annotations that train_fullsup and test are scored against.
    """

    name: Literal["synthetic"] = "synthetic"
    image_size: int = Field(default=64, ge=8, le=4096)
    resize_size: int = Field(default=72, ge=8, le=4096)
    classes: int = Field(default=6, ge=2, le=len(PATCH_COLORS) * len(PATTERNS))
    train_images: int = Field(default=60, ge=1)
    fullsup_images: int = Field(default=15, ge=1)
    test_images: int = Field(default=25, ge=1)
    side: int = Field(default=64, ge=32, le=512)
    seed: int = Field(default=0, ge=0, lt=2**32)
    annotations: Literal["boxes", "masks"] = "boxes"


def build(config: Config) -> Dataset:
    """The data set, rendered first if it is not there."""
    folder = _render_if_absent(config, lambda line: None)
    tree = "metadata" if config.annotations == "boxes" else "metadata_masks"
    names = [class_name(label) for label in range(config.classes)]
    return Dataset(
        config,
        images=folder,
        metadata=folder / tree,
        class_names=names,
        key=folder.name,
        remedy=f"delete {folder}, it is made again",
    )


def sizes(config: Config) -> Sizes:
    """The numbers of images as configured; nothing is rendered."""
    return Sizes(
        config.classes,
        *(config.classes * count for count in (config.train_images, config.fullsup_images, config.test_images)),
    )


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Render and verify; there is no source to read."""
    log(f"synthetic: rendered to {_render_if_absent(config, log)}")
    check_tree(build(config), log)


def class_name(label: int) -> str:
    """`red checks`: neighbouring labels differ in colour and pattern."""
    turn = label // len(PATCH_COLORS)
    return f"{PATCH_COLORS[label % len(PATCH_COLORS)][0]} {PATTERNS[(label + turn) % len(PATTERNS)]}"


def render(config: Config, split_index: int, label: int, index: int) -> tuple[NDArray[np.uint8], Bools]:
    """One image.

    Args:
        config: side and seed.
        split_index: 0 train, 1 val, 2 test.
        label: the class.
        index: number of the image in its class.

    Returns:
        image (side, side, 3) uint8 RGB, object mask (side, side).
    """
    random = RandomState([config.seed, split_index, label, index])
    body, head, patch = _object(random, config.side, SIZE_RANGES[index % len(SIZE_RANGES)])
    image = _texture(
        random, config.side, _draw(random, 60, 196, 3), contrast=90, cells=int(random.randint(3, 9, dtype=np.int64))
    )
    for _ in range(4):  # clutter: plain blobs in patch colours, so that colour alone does not give a class away
        blob = _ellipse(config.side, _draw(random, 0, config.side, 2), _draw(random, 2, max(4, config.side // 10), 2))
        image[blob] = (
            image[blob] + np.array(PATCH_COLORS[int(random.randint(len(PATCH_COLORS), dtype=np.int64))][1])
        ) // 2
    skin = _texture(random, config.side, np.array([150, 132, 112]) + _tint(label), contrast=50, cells=12)
    image[body | head] = skin[body | head]
    image[patch] = _pattern(random, config.side, label)[patch]
    image += _draw(random, -12, 13, image.size).reshape(image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), body | head


def _object(random: RandomState, side: int, percent: tuple[int, int]) -> tuple[Bools, Bools, Bools]:
    """Masks of body, head and patch; drawn again until the box has the wanted area and lies inside the image."""
    while True:
        radii = _draw(random, side // 10, side * 4 // 10, 2)
        center = _draw(random, 0, side, 2)
        direction = _draw(random, -8, 9, 2)
        if (direction == 0).all():
            continue
        head_radius = max(3, int(radii.min()) * int(random.randint(5, 9, dtype=np.int64)) // 10)
        head_center = center + direction * radii // 8
        if not all(
            (c - r >= 1).all() and (c + r < side - 1).all() for c, r in ((center, radii), (head_center, head_radius))
        ):
            continue
        body, head = _ellipse(side, center, radii), _ellipse(side, head_center, np.array([head_radius, head_radius]))
        x0, y0, x1, y1 = _box(body | head)
        if percent[0] * side * side <= 100 * (x1 - x0 + 1) * (y1 - y0 + 1) < percent[1] * side * side:
            patch_radius = max(2, head_radius * 7 // 10)
            return body, head, _ellipse(side, head_center, np.array([patch_radius, patch_radius]))


def _ellipse(side: int, center: Int64, radii: Int64) -> Bools:
    """Pixels of an axis-parallel ellipse, center and radii as (x, y)."""
    y, x = np.ogrid[:side, :side]
    (cx, cy), (rx, ry) = center.tolist(), radii.tolist()
    inside: Bools = ((x - cx) * ry) ** 2 + ((y - cy) * rx) ** 2 <= (rx * ry) ** 2
    return inside


def _box(mask: Bools) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _texture(random: RandomState, side: int, color: Int64, contrast: int, cells: int) -> Int64:
    """(side, side, 3) int64: a colour modulated by value noise, a random lattice of cells x cells, bilinear in
    between."""
    lattice = _draw(random, -contrast, contrast + 1, (cells + 1) ** 2).reshape(cells + 1, cells + 1)
    steps = np.arange(side, dtype=np.int64) * cells
    cell, part = steps // side, steps % side
    rows = lattice[cell] * (side - part)[:, None] + lattice[cell + 1] * part[:, None]
    noise = (rows[:, cell] * (side - part) + rows[:, cell + 1] * part) // (side * side)
    textured: Int64 = np.asarray(color + noise[:, :, None], dtype=np.int64)
    return textured


def _pattern(random: RandomState, side: int, label: int) -> Int64:
    """(side, side, 3): the two colours of a class in its pattern, at a random phase."""
    y, x = np.mgrid[:side, :side] + _draw(random, 0, 8, 2)[:, None, None]
    width = max(1, side // 32)
    stripe = {
        "rows": y // width,
        "columns": x // width,
        "checks": x // width + y // width,
        "diagonals": (x + y) // width,
    }
    kind = class_name(label).split()[1]
    dark = np.array([30, 30, 30]) + _draw(random, 0, 30, 1)
    return np.where((stripe[kind] % 2 == 0)[:, :, None], np.array(PATCH_COLORS[label % len(PATCH_COLORS)][1]), dark)


def _tint(label: int) -> Int64:
    """The faint class cue of the body: a sixth of the way to the colour of the patch."""
    return (np.array(PATCH_COLORS[label % len(PATCH_COLORS)][1]) - 128) // 6


def _draw(random: RandomState, low: int, high: int, count: int) -> Int64:
    return np.asarray(random.randint(low, high, size=count, dtype=np.int64), dtype=np.int64)


def _render_if_absent(config: Config, log: Callable[[str], None]) -> Path:
    counts = (config.train_images, config.fullsup_images, config.test_images)
    settings = repr((FORMAT, config.classes, counts, config.side, config.seed))
    folder = Path(config.root) / f"synthetic-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():  # another process may have made it meanwhile
            log(f"rendering {sum(counts) * config.classes} images")
            temporary = folder.with_name(f".{folder.name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            for split_index, (published, count) in enumerate(zip(SPLIT_FOLDERS.values(), counts, strict=True)):
                _write_split(config, temporary, split_index, published, count)
            temporary.rename(folder)
    return folder


def _write_split(config: Config, folder: Path, split_index: int, published: str, count: int) -> None:
    ids, labels, boxes, masks = [], [], [], []
    for label in range(config.classes):
        (folder / published / str(label)).mkdir(parents=True)
        for index in range(count):
            image, mask = render(config, split_index, label, index)
            stem = f"{published}/{label}/{index}"
            Image.fromarray(image).save(folder / f"{stem}.png")
            if published != "train":
                _save_masks(folder, stem, mask)
            ids.append(f"{stem}.png")
            labels.append(label)
            boxes.append(np.array([_box(mask)], dtype=np.int64))
            masks.append(((f"{stem}_mask.png",), f"{stem}_ignore.png"))
    sizes = np.full((len(ids), 2), config.side, dtype=np.int64)
    hidden = published == "train"
    boxed = Metadata(
        folder, tuple(ids), np.array(labels, dtype=np.int64), sizes, None if hidden else tuple(boxes), None
    )
    masked = Metadata(
        folder, tuple(ids), np.array(labels, dtype=np.int64), sizes, None, None if hidden else tuple(masks)
    )
    metadata.write(folder / "metadata" / published, boxed)
    metadata.write(folder / "metadata_masks" / published, masked)


def _save_masks(folder: Path, stem: str, mask: Bools) -> None:
    """The object, and the object grown by one pixel: its border, where a pixel belongs to nobody for sure, is
    ignored."""
    grown = mask.copy()
    for shift in (1, -1):
        for axis in (0, 1):
            grown |= np.roll(
                mask, shift, axis
            )  # the object keeps a distance of one pixel to the edge, nothing comes round
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{stem}_mask.png")
    Image.fromarray(grown.astype(np.uint8) * 255).save(folder / f"{stem}_ignore.png")
