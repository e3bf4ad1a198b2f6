"""Thresholded average pooling: the numbers of its published implementation, and its rules."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.support import vectors
from tests.support.tap_and_bridging import arrays, assert_close, bare, make
from wsol.config import OptimConfig
from wsol.methods import tap
from wsol.optim import build_optimizer, decay, set_learning_rates


@pytest.mark.parametrize("path", vectors.files("thresholded_average_pooling"))
def test_tap_is_the_published_one(path: Path) -> None:
    """The recorded gradients are those of sum_k k * logit_k, k from 1; the recorded maps are not divided by the
    channels."""
    vector = arrays(path)
    method = tap.build(
        tap.Config(pool_threshold=float(vector["threshold"])), bare(vector["class_weight"], vector["class_bias"])
    )
    features, head = vector["feature"].requires_grad_(), method.network.head
    activations = method.activate(features, torch.zeros(len(features)))
    assert_close(activations.logits, vector["logits"])

    for clipped, name in ((False, "score_map_all_classes"), (True, "score_map_negative_weights_clamped")):
        head.clip_negative_weights = clipped
        maps = [method.class_map(activations, torch.full((len(features),), label)) for label in range(5)]
        assert_close(torch.stack(maps, dim=1) * features.shape[1], vector[name])
    assert torch.equal(head(features), activations.logits)  # clamping is not for the logits

    (activations.logits * torch.arange(1, 6)).sum().backward()
    assert_close(features.grad, vector["grad_feature_of_weighted_logit_sum"])
    assert_close(head.linear.weight.grad, vector["grad_weight_of_weighted_logit_sum"])

    head.linear.weight.data.clamp_(min=0)  # the recording's logits of clamped weights
    assert_close(head(features), vector["logits_negative_weights_clamped"])


CELLS = torch.tensor([[[[0, 1, 2], [3, 4, 10], [0.5, 1, 0]], [[0.0] * 3] * 3]], dtype=torch.float64)


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 21.5 / 7), (0.1, 4.75), (0.4, 10.0), (0.999, 10.0)])
def test_tap_averages_the_cells_strictly_above_the_threshold(threshold: float, expected: float) -> None:
    torch.testing.assert_close(
        tap.thresholded_average(CELLS, threshold), torch.tensor([[expected, 0]], dtype=torch.float64)
    )


def test_tap_gradient_is_one_over_the_count_at_the_averaged_cells() -> None:
    cells = CELLS.clone().requires_grad_()
    tap.thresholded_average(cells, 0.1).sum().backward()
    assert cells.grad is not None
    assert torch.equal(cells.grad, torch.where(CELLS >= 2, 0.25, 0.0).double())


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.999])
def test_tap_of_a_constant_channel_is_its_value(threshold: float) -> None:
    assert torch.equal(tap.thresholded_average(torch.full((1, 1, 2, 2), 3.0), threshold), torch.full((1, 1), 3.0))


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.999])
def test_tap_never_averages_a_negative_cell(threshold: float) -> None:
    features = torch.tensor([[[[-3.0, -1.0]], [[-1.0, 2.0]], [[-1.0, 0.0]]]], requires_grad=True)
    pooled = tap.thresholded_average(features, threshold)
    pooled.sum().backward()
    assert features.grad is not None
    assert pooled.tolist() == [[0, 2, 0]] and features.grad.flatten().tolist() == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_tap_threshold_is_below_one(threshold: float) -> None:
    with pytest.raises(ValidationError, match="pool_threshold"):
        tap.Config(pool_threshold=threshold)


def test_tap_keeps_the_classifier_and_every_key() -> None:
    network = bare(torch.randn(5, 8))
    before, keys = network.head.linear.weight, list(network.state_dict())
    method = tap.build(tap.Config(), network)
    assert method.network.head.linear.weight is before
    assert list(method.network.state_dict()) == keys


def test_tap_learns_as_with_a_scaled_gradient_of_the_body() -> None:
    """The published step: one rate and decay for all, the body's gradient times 0.1."""
    method = make(tap.Config()).double()
    published = copy.deepcopy(method)
    body = list(published.network.backbone.parameters())
    reference = torch.optim.SGD(published.parameters(), lr=3e-3, momentum=0.9, nesterov=True, weight_decay=5e-2)
    config = OptimConfig(lr=3e-4, head_lr_scale=10.0, weight_decay=5e-2, lr_decay_every=26)
    optimizer = build_optimizer(method, config)
    for epoch in range(1, 51):
        set_learning_rates(optimizer, epoch, config)
        reference.param_groups[0]["lr"] = 3e-3 * decay(epoch, config)
        draws = [torch.randn_like(p) for p in method.parameters()]
        for ours, theirs, gradient in zip(method.parameters(), published.parameters(), draws, strict=True):
            ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for parameter in body:
            parameter.grad *= 0.1
        optimizer.step()
        reference.step()
    for ours, theirs in zip(method.parameters(), published.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
