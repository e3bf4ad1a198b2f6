"""The contract of metrics. A new file in `wsol/metrics/` is tested here without being named."""

import numpy as np
import pytest
import torch

from tests.support.box_samples import SIDE, counted, metric, random_sample
from wsol import plugins
from wsol.metric import Sample
from wsol.metrics import max_box_acc, top1
from wsol.types import Annotation

BOX_METRICS = ["max_box_acc", "max_box_acc_v2", "top1"]
every_metric = pytest.mark.parametrize("name", plugins.names("metric"))


# The contract: a new file in `wsol/metrics/` is tested here without being named. The samples have boxes and masks, so
# that every metric can count.


def with_mask(sample):
    """The same image with the union of its boxes as mask."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for x0, y0, x1, y1 in sample.grid_boxes:
        mask[y0 : y1 + 1, x0 : x1 + 1] = 1
    annotation = Annotation(sample.annotation.image_size, sample.annotation.boxes, mask)
    return Sample(sample.score_map, annotation, sample.label, sample.logits, sample.threshold_step)


def samples_with_all(count=9):
    return [with_mask(random_sample(seed)) for seed in range(count)]


def certain(sample, *, right):
    """The same image with the object, or its surroundings, as score map, and its label, or any other class, as the only
    guess."""
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
def test_the_headline_comes_first_and_every_value_is_a_number(name):
    values = counted(metric(plugins.load("metric", name), 0.01), samples_with_all()).compute()
    assert next(iter(values)) == name, f"{name}: the first key of `compute` is the name of the file"
    assert all(isinstance(value, float) and np.isfinite(value) for value in values.values()), values
    assert 0 <= values[name] <= 100, f"{name} is in percent"
    assert all("/" in key for key in list(values)[1:]), (
        f"{name}: the other keys are called {name}/..., not to be taken for another metric"
    )


@every_metric
def test_a_perfect_map_is_better_than_its_opposite(name):
    plugin, images = plugins.load("metric", name), samples_with_all()
    best, worst = (
        counted(metric(plugin, 0.01), [certain(one, right=right) for one in images]).compute()[name]
        for right in (True, False)
    )
    assert (best > worst, best < worst) == (metric(plugin).higher_is_better, not metric(plugin).higher_is_better), (
        f"{name}: {best} for perfect maps, {worst} for their opposites"
    )


@every_metric
def test_shards_merged_equal_one_pass(name):
    plugin = plugins.load("metric", name)
    samples = samples_with_all()
    whole, total = counted(metric(plugin, 0.01), samples), metric(plugin, 0.01)
    for shard in (samples[0::3], samples[1::3], samples[2::3], []):
        total.merge(counted(metric(plugin, 0.01), shard).state())
    torch.testing.assert_close(total.state(), whole.state())  # integers exactly
    assert total.compute() == pytest.approx(whole.compute(), rel=1e-9)


@pytest.mark.parametrize("name", BOX_METRICS)
def test_counts_of_boxes_do_not_depend_on_the_shards(name):
    plugin, samples = plugins.load("metric", name), samples_with_all()
    total = metric(plugin, 0.01)
    for shard in (samples[0::2], samples[1::2]):
        total.merge(counted(metric(plugin, 0.01), shard).state())
    assert total.compute() == counted(metric(plugin, 0.01), samples).compute()


@every_metric
def test_a_state_is_a_copy(name):
    counter = metric(plugins.load("metric", name), 0.01)
    kept = counter.state()
    counter.update(samples_with_all(1)[0])
    assert not any(value.any() for value in kept.values())
    assert any(value.any() for value in counter.state().values())


@every_metric
def test_nothing_counted_has_no_value(name):
    counter = metric(plugins.load("metric", name), 0.01)
    with pytest.raises(ValueError, match=f"{name} has counted no image"):
        counter.compute()


def test_states_of_other_settings_are_refused():
    counter = metric(max_box_acc, 0.01)
    with pytest.raises(ValueError, match="same settings"):
        counter.merge(metric(max_box_acc, 0.001).state())
    with pytest.raises(ValueError, match="same settings"):
        counter.merge(metric(top1, 0.01).state())


@pytest.mark.parametrize("name", BOX_METRICS)
def test_at_its_own_thresholds_a_metric_keeps_its_value(name):
    counter = counted(metric(plugins.load("metric", name), 0.01), [random_sample(seed) for seed in range(12)])
    own = counter.compute()
    fixed = counter.compute_at(own)
    assert fixed
    for key, value in fixed.items():
        headline = key.removesuffix("/fixed").removesuffix("_fixed").replace("/fixed_", "/")
        assert value == own[headline]
