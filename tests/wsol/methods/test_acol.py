"""ACoL: the numbers of its published implementation, and written cases."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support import vectors
from tests.support.published_methods import PROGRESS, assert_close, bare, leaves
from wsol.methods import acol
from wsol.network import CamHead
from wsol.types import Batch

# --- recorded numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", vectors.files("acol"))
def test_acol_is_the_published_one(path: Path) -> None:
    """The recording has branches of one 1x1 convolution."""
    vector = vectors.load(path)
    method = acol.build(acol.Config(erase_threshold=float(vector["erase_threshold"])), bare(features=16))
    branches = method.network.head
    for branch, name in ((branches.a, "A"), (branches.b, "B")):
        branch.hidden, branch.classifier = nn.Identity(), CamHead(16, 5)
        branch.classifier.linear.weight.data = torch.from_numpy(vector[f"classifier_{name}_weight"]).flatten(1)
        branch.classifier.linear.bias.data = torch.from_numpy(vector[f"classifier_{name}_bias"])
    (features,), labels = leaves(vector, "feature"), torch.from_numpy(vector["labels"])

    activations = method.activate(features, labels)
    losses = method.loss_terms(activations, Batch(features, labels), PROGRESS)
    torch.stack(list(losses.values())).sum().backward()
    assert_close(activations.logits, vector["logits_a"])
    assert_close(branches.b.classifier(activations.taps[acol.HIDDEN_B]), vector["logits_b"])
    assert_close(sum(losses.values(), torch.zeros(())), vector["loss"])
    assert_close(method.class_map(activations, labels), vector["cam"])
    assert_close(features.grad, vector["grad_feature"])
    assert_close(branches.b.classifier.linear.weight.grad, vector["grad_classifier_B_weight"][:, :, 0, 0])


# --- ACoL, written cases ----------------------------------------------------------------------------------------------


def test_acol_rescales_each_map_and_a_constant_one_to_zero() -> None:
    maps = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]])
    assert torch.equal(acol.rescale(maps), torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]))


def test_acol_erases_from_the_threshold_on() -> None:
    erased = acol.erase(torch.ones(1, 2, 2, 2), torch.tensor([[[0.0, 0.5], [0.7, 1.0]]]), 0.7)
    assert torch.equal(erased, torch.tensor([[1.0, 1.0], [0.0, 0.0]]).expand(1, 2, 2, 2))
