"""Cases of the protocol's test vectors that need published metadata and masks.

They are not part of this repository. `WSOL_METADATA` names the folder that holds `CUB/`, `ILSVRC/` and `OpenImages/`
with their split folders `val` and `test`; the five masks of the field's own test lie beside it in
`openimages_masks_sample/test_masks`.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.protocol import GRID
from wsol import baseline
from wsol.data import metadata
from wsol.data.dataset import Split
from wsol.data.metadata import Metadata
from wsol.errors import InputError
from wsol.metric import Sample
from wsol.metrics import max_box_acc, max_box_acc_v2, pxap
from wsol.ops.boxes import boxes_by_level


def published(folder: str) -> Path:
    """A folder below or beside the published metadata; skips the test where it is not there."""
    root = os.environ.get("WSOL_METADATA")
    if root is None:
        pytest.skip("needs published files: set WSOL_METADATA to the folder that holds CUB/, ILSVRC/ and OpenImages/")
    path = Path(root, folder)
    if not path.is_dir():
        pytest.skip(f"needs published files: WSOL_METADATA has no {folder}")
    return path


@functools.cache
def read(folder: Path) -> Metadata:
    return metadata.read(folder, annotated=True)


def split_of(folder: str) -> Split:
    """Images and masks are not needed."""
    path = published(folder)
    return Split("test" if path.name == "test" else "train_fullsup", read(path), path, path, folder)


# --- published metadata -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "boxes", "sizes"),
    [
        (
            "CUB/val",
            [[(176, 136, 459, 291)], [(44, 183, 426, 254)], [(437, 42, 834, 422)]],
            [(560, 419), (576, 432), (999, 587)],
        ),
        (
            "CUB/test",
            [[(60, 27, 385, 331)], [(14, 112, 402, 298)], [(33, 53, 284, 448)]],
            [(500, 335), (500, 347), (500, 470)],
        ),
        ("ILSVRC/val", [[(156, 163, 318, 230)], [(143, 142, 394, 248)], [(28, 94, 485, 303)]], [(500, 375)] * 3),
        (
            "ILSVRC/test",
            [[(111, 108, 441, 193)], [(45, 49, 499, 162), (2, 69, 437, 207)], [(38, 19, 385, 373)]],
            [(500, 375)] * 3,
        ),
    ],
)
def test_boxes_and_sizes_of_the_first_images(
    folder: str, boxes: list[list[tuple[int, ...]]], sizes: list[tuple[int, int]]
) -> None:
    split = split_of(folder)
    first = [split.annotation(position, GRID) for position in range(3)]
    assert [[tuple(box) for box in annotation.boxes.tolist()] for annotation in first] == boxes
    assert [annotation.image_size for annotation in first] == sizes


@pytest.mark.parametrize(
    ("folder", "images"), [("CUB/val", 1000), ("CUB/test", 5794), ("ILSVRC/val", 10_000), ("ILSVRC/test", 10_000)]
)
def test_every_box_lies_in_its_image(folder: str, images: int) -> None:
    split = split_of(folder)
    assert len(split) == images
    for position in range(images):
        annotation = split.annotation(position, GRID)
        low, high, last = annotation.boxes[:, :2], annotation.boxes[:, 2:], np.array(annotation.image_size) - 1
        assert len(low) and (low >= 0).all() and (low <= high).all() and (high <= last).all()


CUB_TEST = ((93.90749050742147, 59.59613393165343, 17.0003451846738), 56.834656541249565, (51, 41, 29))
CUB_VAL = ((87.7, 45.2, 9.4), 47.43333333333334, (54, 50, 39))
ILSVRC_VAL = ((74.94, 50.36, 25.66), 50.32, (48, 32, 18))
ILSVRC_TEST = ((76.814, 54.062, 29.28), 53.38533333333333, (47, 33, 18))


@pytest.mark.parametrize(
    ("folder", "sigma", "expected"),
    [
        *[("CUB/test", sigma, CUB_TEST) for sigma in (40, 56, 112)],
        *[("CUB/val", sigma, CUB_VAL) for sigma in (40, 56, 112)],
        ("ILSVRC/val", 56, ILSVRC_VAL),
        ("ILSVRC/test", 56, ILSVRC_TEST),
    ],
)
def test_centre_gaussian(folder: str, sigma: float, expected: tuple[tuple[float, ...], float, tuple[int, ...]]) -> None:
    """The values at IoU 30, 50 and 70, their mean, and the corner of the centred square that reaches each; one contour,
    so both modes agree."""
    split = split_of(folder)
    annotations = [split.annotation(position, GRID) for position in range(len(split))]
    score_map = baseline.center_gaussian((GRID, GRID), sigma)
    metrics = [plugin.build(plugin.Config(), 0.001) for plugin in (max_box_acc_v2, max_box_acc)]
    values = baseline.score_constant_map(score_map, annotations, metrics)

    at_iou, mean, corners = expected
    for name in ("max_box_acc_v2", "max_box_acc"):
        assert [values[f"{name}/iou_{level}"] for level in (30, 50, 70)] == pytest.approx(at_iou, abs=1e-11)
    assert values["max_box_acc_v2"] == pytest.approx(mean, abs=1e-11)
    thresholds = [values[f"max_box_acc_v2/threshold_{level}"] for level in (30, 50, 70)]
    found = boxes_by_level(score_map)
    assert [found.at(int(threshold * 255)).tolist() for threshold in thresholds] == [
        [[c, c, GRID - c, GRID - c]] for c in corners
    ]
    if (folder, sigma) == ("CUB/test", 56):
        assert thresholds == pytest.approx([0.538, 0.432, 0.314], abs=1e-12)


@pytest.mark.parametrize(
    ("folder", "per_class", "images"),
    [
        ("CUB/val", 3, 600),
        ("CUB/val", 4, 799),
        ("CUB/val", 5, 998),
        ("OpenImages/val", 5, 500),
        ("ILSVRC/val", 10, 10_000),
        ("ILSVRC/val", 11, 10_000),
    ],
)
def test_size_of_published_subsets(folder: str, per_class: int, images: int) -> None:
    """A class with fewer images gives all it has; the released code refuses 4 and 5 images of CUB and 11 of ILSVRC."""
    split = split_of(folder)
    subset = split.subset(per_class, seed=0)
    assert len(subset) == images
    assert np.array_equal(np.bincount(subset.labels), np.minimum(np.bincount(split.labels), per_class))


# --- published masks --------------------------------------------------------------------------------------------------

MASKS = {
    "m0": "val/0bt_c3/1cd9ac0169ec7df0",
    "m1": "val/0bt_c3/3a29f0b33894d4a6",
    "m2": "val/0bt_c3/3b3b9931325d65c9",
    "nothing": "val/0by6g/490365f63135f3e0",
    "everything": "val/0by6g/b4d953e7105da1d8",
}
IGNORED = 255
SHARES = {"m0": 85.7601243622449, "m1": 1.66015625, "m2": 2.433892123167567}


def mask_split() -> Split:
    """OpenImages, its masks in the folder of the five."""
    images, masks = published("OpenImages/val"), published("../openimages_masks_sample/test_masks")
    return Split("train_fullsup", read(images), masks, masks, "masks")


def sample_on(name: str, scores: float | None, ignored_score: float = 0.0) -> Sample:
    """A constant map on one of the five images; with None the perfect one."""
    split = mask_split()
    annotation = split.annotation(split.image_ids.index(f"{MASKS[name]}.jpg"), GRID)
    mask = annotation.mask
    assert mask is not None
    if scores is not None:
        return Sample(np.full((GRID, GRID), scores), annotation, 0)
    return Sample(np.where(mask == IGNORED, ignored_score, (mask == 1).astype(np.float64)), annotation, 0)


def pxap_of(sample: Sample) -> float:
    counter = pxap.build(pxap.Config(), 0.01)
    counter.update(sample)
    return counter.compute()["pxap"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("m0", (43_031, 7_145, 0)),
        ("m1", (833, 49_343, 0)),
        ("m2", (347, 13_910, 35_919)),
        ("nothing", (0, 50_176, 0)),
        ("everything", (50_176, 0, 0)),
    ],
)
def test_pixels_of_published_masks(name: str, counts: tuple[int, ...]) -> None:
    mask = sample_on(name, 0.0).annotation.mask
    assert mask is not None and mask.shape == (GRID, GRID)
    assert tuple(int((mask == value).sum()) for value in (1, 0, IGNORED)) == counts


def test_kinds_of_published_mask_files() -> None:
    """As OpenCV reads them: grey, three colours, and four channels of which alpha says nothing."""

    def images(name: str) -> tuple[list[np.ndarray], np.ndarray]:
        split = mask_split()
        assert split.metadata.masks is not None
        paths, ignore = split.metadata.masks[split.image_ids.index(f"{MASKS[name]}.jpg")]
        *found, last = (
            np.asarray(cv2.imread(str(split.mask_root / path), cv2.IMREAD_UNCHANGED)) for path in (*paths, ignore)
        )
        return found, last

    (grey,), ignore = images("m0")
    assert grey.shape == (632, 459) and grey.dtype == np.uint8
    assert ignore.ndim == 3 and ignore.shape[2] == 3 and not ignore.any()
    assert [image.shape[:2] for image in images("m1")[0]] == [(1063, 1600)] * 2
    (partly,), ignore = images("m2")
    assert partly.shape[:2] == (1066, 1600) and ignore.any()
    for name, color in (("nothing", 0), ("everything", 255)):
        (rgba,), _ = images(name)
        assert rgba.shape[2] == 4 and (rgba[..., :3] == color).all() and (rgba[..., 3] == 255).all()


@pytest.mark.parametrize("ignored_score", [0.0, 1.0])
@pytest.mark.parametrize("name", SHARES)
def test_a_perfect_map_on_published_masks_has_all(name: str, ignored_score: float) -> None:
    assert pxap_of(sample_on(name, None, ignored_score)) == 100.0


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", SHARES)
def test_a_constant_map_on_published_masks_has_the_share_of_the_object(name: str, constant: float) -> None:
    assert pxap_of(sample_on(name, constant)) == pytest.approx(SHARES[name], abs=1e-11)


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_published_masks_of_nothing_and_everything(constant: float) -> None:
    with pytest.raises(InputError, match="pxap is not defined"):
        pxap_of(sample_on("nothing", constant))
    assert pxap_of(sample_on("everything", constant)) == 100.0
