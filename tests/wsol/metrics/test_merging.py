"""Counts of shards, and score thresholds that were chosen elsewhere."""

import pytest

from wsol import plugins
from wsol.contract.samples import counted, metric, random_sample, samples_with_all
from wsol.metrics import max_box_acc, top1

BOX_METRICS = ["max_box_acc", "max_box_acc_v2", "top1"]


@pytest.mark.parametrize("name", BOX_METRICS)
def test_counts_of_boxes_do_not_depend_on_the_shards(name):
    plugin, samples = plugins.load("metric", name), samples_with_all()
    total = metric(plugin, 0.01)
    for shard in (samples[0::2], samples[1::2]):
        total.merge(counted(metric(plugin, 0.01), shard).state())
    assert total.compute() == counted(metric(plugin, 0.01), samples).compute()


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
