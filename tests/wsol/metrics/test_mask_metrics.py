"""Metrics over pixels: the recorded numbers, published masks, PxAP by object size, and their contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.support.mask_samples import IGNORED, counted, metric, random_sample, sample, values
from tests.support.vectors import files, load
from wsol.data.dataset import Split
from wsol.data.metadata import Metadata
from wsol.errors import InputError
from wsol.metric import Sample
from wsol.types import Annotation

MASK_METRICS = ["pxap", "piou", "pxap_by_size"]


@pytest.mark.parametrize("path", files("pixel_average_precision"))
def test_counts_and_pxap_equal_the_recorded_ones(path: Path) -> None:
    case = load(path)
    samples = [
        sample(scores, mask) for scores, mask in zip(case["score_maps_224"], case["evaluation_masks_224"], strict=True)
    ]
    counter = counted(metric("pxap"), samples)
    assert np.array_equal(counter.thresholds[:-2], case["thresholds"])  # ours go on to 1 and 2
    assert np.array_equal(counter.state()["counts"], [case["hist_true"], case["hist_false"]])
    assert counter.compute()["pxap"] == pytest.approx(case["pxap"].item(), abs=1e-9)


@pytest.mark.parametrize("path", files("pixel_average_precision"))
def test_masks_read_from_files_equal_the_recorded_ones(path: Path, tmp_path: Path) -> None:
    case = load(path)
    rows = []
    for image in range(len(case["evaluation_masks_224"])):
        parts = [name for name in case if name.startswith("instance_") and name.endswith(f"_of_image_{image}")]
        rows.append((tuple(f"{name}.png" for name in parts), f"ignore_{image}.png"))
        for name in (*parts, f"ignore_{image}"):
            Image.fromarray((case[name] > 0).astype(np.uint8) * 255).save(tmp_path / f"{name}.png")
    ids = tuple(f"{image}.jpg" for image in range(len(rows)))
    split = Split(
        "test",
        Metadata(tmp_path, ids, np.zeros(len(ids), np.int64), None, None, tuple(rows)),
        tmp_path,
        tmp_path,
        "masks",
    )
    read = [split.annotation(image, 224).mask for image in range(len(rows))]
    assert np.array_equal(np.array(read), case["evaluation_masks_224"])


# ---------------------------------------------------------------- the published test of the field's evaluator, with
# masks of the same counts

PUBLISHED = [
    ((43031, 7145, 0), 85.7601243622449),
    ((833, 49343, 0), 1.66015625),
    ((347, 13910, 35919), 2.433892123167567),
]


def mask_with(positives: int, negatives: int, ignored: int) -> NDArray[np.uint8]:
    """A mask of 224 x 224 with these numbers of pixels, in no order."""
    flat = np.repeat(np.array([1, 0, IGNORED], np.uint8), [positives, negatives, ignored])
    return np.random.default_rng(0).permutation(flat).reshape(224, 224)


@pytest.mark.parametrize(("pixels", "_"), PUBLISHED)
@pytest.mark.parametrize("ignored_score", [0.0, 1.0])
def test_a_perfect_map_has_all_and_ignored_pixels_do_not_matter(
    pixels: tuple[int, int, int], _: float, ignored_score: float
) -> None:
    mask = mask_with(*pixels)
    scores = np.where(mask == IGNORED, ignored_score, mask == 1)
    assert values("pxap", [sample(scores, mask)], 0.01)["pxap"] == 100
    assert values("piou", [sample(scores, mask)], 0.01) == {"piou": 100, "piou/threshold": 0.01}


@pytest.mark.parametrize(("pixels", "expected"), PUBLISHED)
@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_a_constant_map_has_the_share_of_the_object(
    pixels: tuple[int, int, int], expected: float, constant: float
) -> None:
    one = sample(np.full((224, 224), constant), mask_with(*pixels))
    assert values("pxap", [one], 0.01)["pxap"] == pytest.approx(expected, abs=1e-11)
    assert values("piou", [one], 0.01)["piou"] == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("name", MASK_METRICS)
@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_masks_without_any_object_have_no_value(name: str, constant: float) -> None:
    with pytest.raises(InputError, match=f"{name} is not defined: none of the 1 masks has a pixel of an object"):
        values(name, [sample(np.full((4, 4), constant), np.zeros((4, 4)))])
    assert values(name, [sample(np.full((4, 4), constant), np.ones((4, 4)))])[name] == 100


def test_a_mask_with_only_ignored_pixels_has_no_value() -> None:
    with pytest.raises(InputError, match="not defined"):
        values("pxap", [sample(np.ones((2, 2)), np.full((2, 2), IGNORED))])


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="score map"):
        sample(np.full((2, 2), np.nan), np.ones((2, 2)))


# ---------------------------------------------------------------- by size


def sized(pixels: int, score: float = 0.5, side: int = 10) -> Sample:
    """An image with an object of this many pixels of 100; the object has another score than the rest, 0.4."""
    mask = np.arange(side * side).reshape(side, side) < pixels
    return sample(np.where(mask, score, 0.4), mask)


def test_every_size_has_its_pxap() -> None:
    samples = [sized(1), sized(3, 0.3), sized(4), sized(35), sized(36, 0.3), sized(100)]
    found = values("pxap_by_size", samples)
    right: dict[str, dict[str, float]] = {
        "1_4": values("pxap", samples[:2]),
        "4_9": {"pxap": 100},
        "25_36": {"pxap": 100},
        "36_49": {"pxap": 36},
        "81_100": {"pxap": 100},
    }
    sizes = {key.rpartition("size_")[2]: value for key, value in found.items() if "/size_" in key}
    assert sizes == {name: pytest.approx(value["pxap"]) for name, value in right.items()}
    assert found["pxap_by_size"] == pytest.approx(np.mean(list(sizes.values())))
    assert found["pxap_by_size/total"] == values("pxap", samples)["pxap"]
    groups = {"small": samples[:2], "medium": samples[2:4], "large": samples[4:]}
    assert all(
        found[f"pxap_by_size/{group}"] == pytest.approx(values("pxap", part)["pxap"]) for group, part in groups.items()
    )
    assert [found[f"pxap_by_size/images_{low}"] for low in ("0_1", "1_4", "4_9", "36_49", "81_100")] == [0, 2, 1, 1, 1]


def test_an_image_without_object_counts_as_a_small_one() -> None:
    found = values("pxap_by_size", [sized(0), sized(50, 0.4)])
    assert found["pxap_by_size/images_0_1"] == 1 and found["pxap_by_size/images_49_64"] == 1
    assert "pxap_by_size/size_0_1" not in found and "pxap_by_size/small" not in found
    assert (found["pxap_by_size"], found["pxap_by_size/total"]) == (50, 25)


def test_ignored_pixels_are_no_part_of_the_object_but_of_the_image() -> None:
    mask = np.zeros((10, 10))
    mask[0, :5], mask[1:9] = 1, IGNORED
    assert values("pxap_by_size", [sample(mask == 1, mask)])["pxap_by_size/size_4_9"] == 100


# ---------------------------------------------------------------- the contract of metrics


@pytest.mark.parametrize("name", MASK_METRICS)
def test_shards_merged_equal_one_pass(name: str) -> None:
    samples = [random_sample(seed) for seed in range(9)]
    whole, total = counted(metric(name, 0.01), samples), metric(name, 0.01)
    for shard in (samples[0::2], samples[1::2], []):
        total.merge(counted(metric(name, 0.01), shard).state())
    assert total.compute() == whole.compute()
    assert all(torch.equal(total.state()[key], value) for key, value in whole.state().items())
    assert all(value.dtype == torch.int64 for value in whole.state().values())
    assert next(iter(whole.compute())) == name and whole.higher_is_better
    assert all(key.startswith(f"{name}/") for key in list(whole.compute())[1:])


@pytest.mark.parametrize("name", MASK_METRICS)
def test_a_state_is_a_copy(name: str) -> None:
    counter = metric(name, 0.01)
    kept = counter.state()
    counter.update(random_sample(0))
    assert not any(value.any() for value in kept.values())


@pytest.mark.parametrize("name", MASK_METRICS)
def test_mask_metrics_need_masks_of_the_size_of_the_map(name: str) -> None:
    boxes = Sample(np.zeros((4, 4)), Annotation((4, 4), np.array([(0, 0, 1, 1)])), 0)
    with pytest.raises(ValueError, match="data set with masks"):
        metric(name).update(boxes)
    with pytest.raises(ValueError, match=r"mask has \(2, 2\) pixels, the score map \(4, 4\)"):
        metric(name).update(sample(np.zeros((4, 4)), np.ones((2, 2))))
    with pytest.raises(ValueError, match=f"{name} has counted no image"):
        metric(name).compute()
