"""Replicates of the metrics over resampled images, and numbers at a threshold that was chosen elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsol.bootstrap import REPLICATES, Bootstrap, draws, interval
from wsol.metric import Metric, Sample
from wsol.metrics import max_box_acc_by_size, max_box_acc_v2, piou, pxap
from wsol.types import Annotation

STEP = 0.1


def samples(count: int, masks: bool = False) -> list[Sample]:
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        score_map = random.random((16, 16))
        top, left, height, width = *random.integers(0, 8, 2), *random.integers(2, 8, 2)
        score_map[top : top + height, left : left + width] += 0.7 * random.random()
        mask = np.zeros((16, 16), np.uint8)
        mask[top : top + height, left : left + width] = 1
        box = np.array([[left, top, left + width - 1, top + height - 1]])
        annotation = Annotation((16, 16), box[:0] if masks else box, mask if masks else None)
        made.append(Sample(score_map / score_map.max(), annotation, 0, threshold_step=STEP))
    return made


def fresh(name: str) -> Metric:
    plugin = {"v2": max_box_acc_v2, "size": max_box_acc_by_size, "pxap": pxap, "piou": piou}[name]
    metric: Metric = plugin.build(plugin.Config(), STEP)
    return metric


def counted(name: str, images: list[Sample], times: list[int]) -> dict[str, float]:
    metric = fresh(name)
    for image, repeats in zip(images, times, strict=True):
        for _ in range(repeats):
            metric.update(image)
    return metric.compute()


@pytest.mark.parametrize("name", ["v2", "size", "pxap", "piou"])
def test_a_replicate_is_the_metric_over_repeated_images(name: str) -> None:
    images, names = (
        samples(70, masks=name.startswith("p")),
        [f"image{i}" for i in range(70)],
    )  # more than are summed at once
    bootstrap = Bootstrap([fresh(name)])
    for image_id, image in zip(names, images, strict=True):
        metric = fresh(name)
        metric.update(image)
        bootstrap.add(image_id, [metric.state()])
    found, times = bootstrap.compute({}), draws(names).int().tolist()
    for replicate in (0, 1, REPLICATES - 1):
        for key, value in counted(name, images, times[replicate]).items():
            assert found[key][replicate] == pytest.approx(value, abs=1e-9), key


def test_draws_depend_on_the_name_alone_and_are_poisson() -> None:
    one, both = draws(["a"]), draws(["b", "a"])
    assert torch.equal(one[:, 0], both[:, 1]) and not torch.equal(both[:, 0], both[:, 1])
    many = draws([f"image{i}" for i in range(200)])
    assert many.mean().item() == pytest.approx(1, abs=0.01) and many.var().item() == pytest.approx(1, abs=0.02)


def test_the_interval_of_a_proportion_is_the_binomial_one() -> None:
    """Two images in three are right at every threshold: the deviation over n images is sqrt(p (1 - p) / n)."""
    right = Sample(
        np.pad(np.ones((10, 10)), 3), Annotation((16, 16), np.array([[3, 3, 12, 12]])), 0, threshold_step=STEP
    )
    wrong = Sample(np.pad(np.ones((10, 10)), 3), Annotation((16, 16), np.array([[0, 0, 1, 1]])), 0, threshold_step=STEP)
    bootstrap, count = Bootstrap([fresh("v2")]), 300
    for index in range(count):
        metric = fresh("v2")
        metric.update(wrong if index % 3 == 0 else right)
        bootstrap.add(f"image{index}", [metric.state()])
    bounds = interval(bootstrap.compute({})["max_box_acc_v2"])
    half = 196 * (2 / 9 / count) ** 0.5
    assert bounds is not None
    assert bounds[0] == pytest.approx(200 / 3 - half, abs=0.8) and bounds[1] == pytest.approx(200 / 3 + half, abs=0.8)


def test_replicates_without_images_are_left_out() -> None:
    assert interval(np.array([np.nan, 1.0, np.nan, 3.0])) == pytest.approx((1.05, 2.95))
    assert interval(np.full(5, np.nan)) is None


@pytest.mark.parametrize("name", ["size", "piou"])
def test_numbers_at_a_chosen_threshold(name: str) -> None:
    images = samples(40, masks=name == "piou")
    metric, other = fresh(name), fresh(name)
    for index, image in enumerate(images):
        (metric if index < 20 else other).update(image)
    own, key = metric.compute(), {"size": "max_box_acc_by_size", "piou": "piou"}[name]
    assert metric.compute_at(own)[f"{key}/fixed"] == own[key]
    highest = own[f"{key}/total" if name == "size" else key]
    assert metric.compute_at(other.compute())[f"{key}/fixed"] <= highest
    assert metric.compute_at({}) == {}
