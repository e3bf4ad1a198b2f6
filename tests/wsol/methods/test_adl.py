"""ADL: the numbers of its published implementation, and written cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import vectors
from tests.support.published_methods import assert_close
from wsol.methods import adl


@pytest.mark.parametrize("path", vectors.files("adl"))
def test_adl_is_the_published_one(path: Path) -> None:
    vector = vectors.load(path)
    features = torch.from_numpy(vector["feature"])
    weighted = adl.AttentionDropout(0.5, 0.0)(features)
    assert_close(weighted, vector["output_when_weighting"])
    importance, seen = torch.from_numpy(vector["importance_map"]).expand_as(features), features != 0
    assert_close((weighted / features)[seen], importance[seen].numpy())
    thresholds = [key.removeprefix("drop_mask_threshold_") for key in vector if key.startswith("drop_mask_threshold_")]
    assert thresholds
    for threshold in thresholds:
        dropped = adl.AttentionDropout(float(threshold), 1.0)
        assert_close(dropped(features), vector[f"output_when_dropping_threshold_{threshold}"])
        kept = vector[f"drop_mask_threshold_{threshold}"] > 0
        assert torch.equal(dropped(features) == 0, (features == 0) | ~torch.from_numpy(kept))


SMALL = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[0.0, 3.0], [2.0, 4.0]]]])


@pytest.mark.parametrize(
    ("rate", "output", "gradient"),
    [
        (
            0.0,
            [[[0, 0.880797], [1.761594, 3.928055]], [[0, 2.642391], [1.761594, 3.928055]]],
            [[0.5, 1.0907843], [1.0907843, 1.0526648]],
        ),
        (1.0, [[[0, 1], [2, 0]], [[0, 3], [2, 0]]], [[1, 1], [1, 0]]),
    ],
    ids=["importance", "drop"],
)
def test_adl_output_and_gradient(rate: float, output: list[object], gradient: list[object]) -> None:
    features = SMALL.clone().requires_grad_()
    found = adl.AttentionDropout(0.8, rate)(features)
    found.sum().backward()
    assert_close(found[0], np.array(output))
    assert features.grad is not None
    assert_close(features.grad, np.broadcast_to(np.array(gradient), features.shape))


def test_adl_is_the_identity_in_evaluation() -> None:
    assert adl.AttentionDropout(0.8, 0.5).eval()(SMALL) is SMALL


def test_adl_hides_at_its_rate_one_draw_for_the_batch() -> None:
    torch.manual_seed(0)
    layer, features = adl.AttentionDropout(0.8, 0.25), SMALL.expand(3, -1, -1, -1)
    hidden = torch.stack([layer(features)[:, 0, 1, 1] == 0 for _ in range(2000)])
    assert torch.equal(hidden.all(1), hidden.any(1))
    assert hidden.float().mean().item() == pytest.approx(0.25, abs=0.03)
