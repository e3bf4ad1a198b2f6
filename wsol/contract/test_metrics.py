"""The contract that every metric keeps. The samples have boxes and masks, so that every metric can count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsol import plugins
from wsol.by_image import numbers_of_images
from wsol.contract.found import usable
from wsol.contract.samples import counted, metric, samples_with_all
from wsol.metric import Sample

every_metric = pytest.mark.parametrize("name", usable("metric"))


def certain(sample: Sample, *, right: bool) -> Sample:
    """The same image with the object, or its surroundings, as score map, and its label, or any other class, as the only
    guess."""
    assert sample.annotation.mask is not None
    score_map, logits = sample.annotation.mask.astype(np.float64), np.zeros(8, np.float32)
    logits[sample.label] = 1
    return Sample(
        score_map if right else 1 - score_map,
        sample.annotation,
        sample.label,
        logits if right else -logits,
        sample.threshold_step,
    )


@every_metric
def test_the_headline_comes_first_and_every_value_is_a_number(name: str) -> None:
    values = counted(metric(plugins.load("metric", name), 0.01), samples_with_all()).compute()
    assert next(iter(values)) == name, f"{name}: the first key of `compute` is the name of the file"
    assert all(isinstance(value, float) and np.isfinite(value) for value in values.values()), values
    assert 0 <= values[name] <= 100, f"{name} is in percent"
    assert all("/" in key for key in list(values)[1:]), (
        f"{name}: the other keys are called {name}/..., not to be taken for another metric"
    )


@every_metric
def test_a_perfect_map_is_better_than_its_opposite(name: str) -> None:
    plugin, images = plugins.load("metric", name), samples_with_all()
    best, worst = (
        counted(metric(plugin, 0.01), [certain(one, right=right) for one in images]).compute()[name]
        for right in (True, False)
    )
    assert (best > worst, best < worst) == (metric(plugin).higher_is_better, not metric(plugin).higher_is_better), (
        f"{name}: {best} for perfect maps, {worst} for their opposites"
    )


@every_metric
def test_shards_merged_equal_one_pass(name: str) -> None:
    plugin = plugins.load("metric", name)
    samples = samples_with_all()
    whole, total = counted(metric(plugin, 0.01), samples), metric(plugin, 0.01)
    for shard in (samples[0::3], samples[1::3], samples[2::3], []):
        total.merge(counted(metric(plugin, 0.01), shard).state())
    torch.testing.assert_close(total.state(), whole.state())  # integers exactly
    assert total.compute() == pytest.approx(whole.compute(), rel=1e-9)


@every_metric
def test_the_numbers_of_single_images_average_to_the_metric(name: str) -> None:
    plugin, samples = plugins.load("metric", name), samples_with_all() * 10
    whole = counted(metric(plugin, 0.01), samples)
    if not whole.by_image:
        pytest.skip("has none")
    numbers = numbers_of_images(whole, [counted(metric(plugin, 0.01), [one]).state() for one in samples], name)
    assert numbers.mean() == pytest.approx(whole.compute()[name], abs=0.5), (
        f"{name}: `by_image` is for percentages of images, and for functions that change little with each image"
    )


@every_metric
def test_a_state_is_a_copy(name: str) -> None:
    counter = metric(plugins.load("metric", name), 0.01)
    kept = counter.state()
    counter.update(samples_with_all(1)[0])
    assert not any(value.any() for value in kept.values())
    assert any(value.any() for value in counter.state().values())


@every_metric
def test_nothing_counted_has_no_value(name: str) -> None:
    plugin = plugins.load("metric", name)
    counter = metric(plugin, 0.01)
    with pytest.raises(ValueError, match=f"{plugin.__name__.rpartition('.')[2]} has counted no image"):
        counter.compute()
