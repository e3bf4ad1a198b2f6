"""What each image adds to a metric."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.mask_samples import metric, random_sample
from wsol import plugins
from wsol.by_image import evaluate_by_image, in_order, numbers_of_images
from wsol.config import EvaluationConfig
from wsol.data.images import ImageStore
from wsol.evaluation import evaluate, localize
from wsol.method import Method
from wsol.metric import BoxAccuracy, Metric, Sample

Scene = tuple[Method, ImageStore, EvaluationConfig]


def by_image(name: str, samples: list[Sample], key: str = "") -> tuple[float, np.ndarray]:
    """A metric of some images, and the numbers of the images."""
    whole, states = metric(name), []
    for sample in samples:
        alone = metric(name)
        alone.update(sample)
        whole.merge(alone.state())
        states.append(alone.state())
    return whole.compute()[key or name], numbers_of_images(whole, states, key or name)


def test_a_right_image_has_a_hundred_and_a_wrong_one_nothing_at_the_thresholds_of_all(scene: Scene) -> None:
    method, images, config = scene
    results, numbers = evaluate_by_image(method, images, config, "max_box_acc_v2")
    assert results == evaluate(method, images, config)
    expected = np.zeros(len(images.split))
    for place, sample in enumerate(localize(method, images, config)):
        right = sample.best_iou("all")
        for iou in BoxAccuracy.IOU_PERCENT:
            at = round(results[f"max_box_acc_v2/threshold_{iou}"] / config.threshold_step)
            expected[place] += 100 * (right[at] >= iou / 100) / 3
    np.testing.assert_allclose(numbers, expected, atol=1e-9)
    assert numbers.mean() == pytest.approx(results["max_box_acc_v2"])
    assert 0 < results["max_box_acc_v2"] < 100


def test_another_number_of_the_same_metric_has_its_own_images(scene: Scene) -> None:
    method, images, config = scene
    results, numbers = evaluate_by_image(method, images, config, "max_box_acc_v2/iou_50")
    assert set(numbers.round(6)) <= {0.0, 100.0} and numbers.mean() == pytest.approx(results["max_box_acc_v2/iou_50"])


def test_no_image_is_right_at_a_threshold_of_its_own() -> None:
    """Two images are right at the first threshold only, and two at the second only: the first one is the best of all,
    and the others are wrong there."""
    states = [
        {"counts": torch.tensor([[1 - second, second]] * 3), "images": torch.tensor(1)} for second in (0, 1, 1, 0)
    ]
    whole = metric("max_box_acc", 0.5)
    for state in states:
        whole.merge(state)
    assert numbers_of_images(whole, states, "max_box_acc").tolist() == [100.0, 0.0, 0.0, 100.0]


@pytest.mark.parametrize("name", ["pxap", "piou"])
def test_of_pooled_pixels_an_image_has_what_it_adds(name: str) -> None:
    samples = [random_sample(seed) for seed in range(40)]
    value, numbers = by_image(name, samples)
    assert numbers.shape == (40,) and numbers.mean() == pytest.approx(value, abs=0.1 * numbers.std() / 40**0.5)
    twice, _ = by_image(name, [*samples, samples[int(numbers.argmax())]])
    less, _ = by_image(name, [*samples, samples[int(numbers.argmin())]])
    assert less < value < twice


def test_the_spread_of_the_numbers_is_that_of_the_bootstrap() -> None:
    """The standard error that the numbers give is that of resampling whole images."""
    samples = [random_sample(seed) for seed in range(40)]
    _, numbers = by_image("pxap", samples)
    random = np.random.default_rng(0)
    drawn = [by_image_value([samples[place] for place in random.integers(0, 40, 40)]) for _ in range(100)]
    assert numbers.std() / 40**0.5 == pytest.approx(float(np.std(drawn)), rel=0.2)


def by_image_value(samples: list[Sample]) -> float:
    counter = metric("pxap")
    for sample in samples:
        counter.update(sample)
    return counter.compute()["pxap"]


@pytest.mark.parametrize(("n", "world"), [(5, 2), (6, 3), (7, 1), (2, 3)])
def test_numbers_of_several_workers_come_in_the_order_of_the_images(n: int, world: int) -> None:
    gathered = np.concatenate([np.arange(rank, n, world) for rank in range(world)]).astype(float)
    assert in_order(gathered, world).tolist() == list(range(n))


def test_what_averages_over_bins_does_not_claim_to_have_numbers_of_images() -> None:
    kinds: dict[str, Metric] = {name: metric(name) for name in plugins.names("metric")}
    assert {name for name, kind in kinds.items() if not kind.by_image} == {"max_box_acc_by_size", "pxap_by_size"}
