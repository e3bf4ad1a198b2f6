"""DA-WSOL: what its loss is made of, and where its gradients go."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.support.da_wsol import CHANNELS, CLASSES, LATE, SIDE, looped_mmd, make, make_features, qualified, step
from wsol.contract.networks import total
from wsol.methods.da_wsol import DomainAdaptation
from wsol.types import Progress


@pytest.mark.parametrize("discrepancy", ["mmd", "full_mmd", "dann"])
def test_it_begins_with_its_start_epoch(discrepancy: str) -> None:
    """What was published as start_epoch 1, from 0 and exclusive, is 3 here."""
    features, labels = make_features(), torch.arange(6) % CLASSES
    method = make(start_epoch=3, discrepancy=discrepancy)
    before = step(method, features.requires_grad_(), labels, replace(LATE, epoch=2))
    assert before["domain"] == before["universum"] == 0 and not method.anchor_counts.any()
    assert torch.equal(total(before), before["classification"])
    total(before).backward()
    assert all(p.grad is not None for p in method.parameters())
    after = step(method, features, labels, replace(LATE, epoch=3))
    assert torch.equal(before["classification"], after["classification"])
    assert after["domain"] != 0 and after["universum"] > 0 and method.anchor_counts.any()


def test_weights_weigh() -> None:
    features, labels = make_features(), torch.arange(6) % CLASSES
    one, other = (
        step(make(domain_weight=d, universum_weight=u), features, labels) for d, u in ((1.0, 1.0), (0.3, 2.0))
    )
    for term, weight in (("classification", 1.0), ("domain", 0.3), ("universum", 2.0)):
        torch.testing.assert_close(other[term], weight * one[term])


def test_the_terms_are_those_of_plain_loops() -> None:
    method, features, labels = (
        make(samples=8, domain_weight=1.0, universum_weight=1.0),
        make_features(),
        torch.arange(6) % CLASSES,
    )
    cells = features.flatten(2).mT
    clusters = make().split(cells, [labels])[0]
    losses = step(method, features, labels)
    torch.manual_seed(5)
    keys = torch.rand(6, SIDE**2)
    values = []
    for image in qualified(clusters, 8).nonzero()[:, 0].tolist():
        fake, real = (
            [i for i in keys[image].argsort().tolist() if clusters[image, i] == cluster] for cluster in (1, 2)
        )
        source = torch.stack([cells[image].mean(0), *cells[image, fake[:7]]])
        values.append(looped_mmd(source, cells[image, real[:8]]))
    assert 0 < len(values) < 6  # some do not qualify
    torch.testing.assert_close(losses["domain"], torch.stack(values).mean())
    torch.testing.assert_close(
        losses["universum"], torch.cat([c[k == 0] for c, k in zip(cells, clusters, strict=True)]).mean()
    )


def test_gradients_reach_the_cells_that_were_drawn() -> None:
    """The universum only through its mean, and every cell a little through the pooled feature."""
    features, labels = make_features().requires_grad_(), torch.arange(6) % CLASSES
    method = make(samples=8, domain_weight=1.0, universum_weight=1.0)
    clusters = make().split(features.detach().flatten(2).mT, [labels])[0]
    losses = step(method, features, labels)
    (gradient,) = torch.autograd.grad(losses["universum"], features, retain_graph=True)
    region = (clusters == 0).view(6, 1, SIDE, SIDE)
    torch.testing.assert_close(gradient, (region / (region.sum() * CHANNELS)).expand_as(gradient))
    (gradient,) = torch.autograd.grad(losses["domain"], features)
    strength = gradient.flatten(2).norm(dim=1)
    for image, chosen in enumerate(qualified(clusters, 8).tolist()):
        through_pooling = strength[image].median()
        assert (strength[image] > 2 * through_pooling).sum() == (15 if chosen else 0)
        assert (through_pooling > 0) == chosen
    assert not method.anchor_sums.requires_grad


def test_a_discriminator_learns_what_the_features_unlearn() -> None:
    features, labels = make_features().requires_grad_(), torch.arange(6) % CLASSES
    method = make(discrepancy="dann", domain_weight=1.0)
    done = Progress(epoch=3, epochs=4, step=12, steps=16)
    loss = step(method, features, labels, done)["domain"]
    reached = torch.autograd.grad(loss, (features, method.discriminator.linear.weight))
    method.discriminator.forward = lambda source, target, _: honest(method.discriminator.linear, source, target)
    again = step(method_with_fresh_anchors(method), features, labels, done)["domain"]
    straight = torch.autograd.grad(again, (features, method.discriminator.linear.weight))
    torch.testing.assert_close(loss, again)
    torch.testing.assert_close(reached[0], -(2 / (1 + math.exp(-0.75)) - 1) * straight[0])
    torch.testing.assert_close(reached[1], straight[1])
    assert straight[0].any() and straight[1].any()


def honest(linear: nn.Linear, source: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy without reversal, written out."""
    return -(linear(source).sigmoid().log().mean((1, 2)) + (1 - linear(target).sigmoid()).log().mean((1, 2))) / 2


def method_with_fresh_anchors(method: DomainAdaptation) -> DomainAdaptation:
    method.anchor_sums.zero_()
    method.anchor_counts.zero_()
    return method


def test_the_discriminator_learns_at_the_heads_rate() -> None:
    groups = {group["name"]: group for group in make(discrepancy="dann").parameter_groups()}
    assert groups["discriminator"]["head"] and len(groups["discriminator"]["params"]) == 2
    assert {id(p) for p in groups["discriminator"]["params"]}.isdisjoint(id(p) for p in groups["head"]["params"])
