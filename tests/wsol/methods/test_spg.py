"""SPG: the numbers of its published implementation, and written cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.support import vectors
from tests.support.published_methods import PROGRESS, assert_close, bare, leaves
from wsol.methods import spg
from wsol.types import Activations, Batch


class Channels(nn.Module):
    """Some channels of the features."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.range = slice(start, stop)

    def forward(self, features: Tensor) -> Tensor:
        return features[:, self.range]


@pytest.mark.parametrize("path", vectors.files("spg"))
def test_spg_is_the_published_one(path: Path) -> None:
    """The recording begins at the maps, so the head passes them on: the features are five class maps and C."""
    vector = vectors.load(path)
    names = [f"{source}_{side}" for source in ("attention", "b2", "fused") for side in ("high", "low")]
    config = spg.Config(**dict(zip(names, vector["thresholds_high_low"].ravel().tolist(), strict=True)))
    method = spg.build(config, bare(b1=1, b2=1, features=6))
    head = method.network.head
    head.sources, head.b1, head.b2, head.shared, head.fused = (
        ("b1", "b2"),
        nn.Identity(),
        nn.Identity(),
        nn.Identity(),
        Channels(5, 6),
    )
    head.linear.weight.data, head.linear.bias.data = torch.eye(5, 6), torch.zeros(5)
    scores, b1, b2, c = leaves(vector, "class_score_map", "logits_b1", "logits_b2", "logits_c")
    labels = torch.from_numpy(vector["labels"])

    features = torch.cat((scores, c), dim=1)
    activations = Activations(features, head(features), {"b1": b1, "b2": b2})
    losses = method.loss_terms(activations, Batch(torch.empty(4, 3, 224, 224), labels), PROGRESS)
    torch.stack(list(losses.values())).sum().backward()
    assert_close(sum(losses.values(), torch.zeros(())), vector["loss"])
    assert_close(spg.attention(method.class_map(activations, labels), (224, 224)).mean(), vector["attention_mean"])
    fused = sum(spg.enlarge(side, (224, 224)).sigmoid() for side in (b1, b2)) / 2
    assert_close(fused.mean(), vector["fused_attention_mean"])
    for leaf, name in ((scores, "class_score_map"), (b1, "b1"), (b2, "b2"), (c, "c")):
        assert_close(leaf.grad, vector[f"grad_{name}"])


RAMP = (torch.arange(224.0 * 224) / 50175).reshape(1, 1, 224, 224)


def spots() -> Tensor:
    guide = torch.zeros(1, 1, 224, 224)
    guide[0, 0, 10, :6] = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.8, 0.5])
    return guide


@pytest.mark.parametrize(
    ("guide", "high", "low", "counts"),
    [
        (RAMP, 0.7, 0.1, (5018, 15053, 30105)),
        (spots(), 0.85, 0.05, (50170, 5, 1)),  # fewer than 30 pixels: from 0.7 * 0.9 on
        (torch.full((1, 1, 224, 224), 0.3), 0.7, 0.1, (0, 50176, 0)),
    ],
    ids=["ramp", "spots", "constant"],
)
def test_spg_counts_of_background_object_and_undecided(
    guide: Tensor, high: float, low: float, counts: tuple[int, ...]
) -> None:
    found = spg.seeds(guide, high, low)
    assert tuple(int((found == value).sum()) for value in (0, 1, 255)) == counts


def test_spg_background_overrides_object() -> None:
    assert spg.seeds(RAMP, 0.2, 0.9).eq(0).sum() == RAMP.lt(0.9).sum()


def test_spg_few_is_a_share_of_the_image() -> None:
    """30 pixels of 224x224 are 7.5 of 112x112."""
    for pixels, expected in ((7, 112 * 112), (8, 8)):
        guide = torch.full((1, 1, 112, 112), 0.75)
        guide[0, 0, 0, :pixels] = 1
        assert spg.seeds(guide, 0.9, 0.0).eq(1).sum() == expected


def test_spg_guidance_of_zero_logits_is_ln_2_and_of_nothing_decided_zero() -> None:
    logits = torch.zeros(1, 1, 224, 224, requires_grad=True)
    assert spg.guidance(logits, spg.seeds(RAMP, 0.7, 0.1)).item() == pytest.approx(np.log(2), rel=1e-6)
    loss = spg.guidance(logits, torch.full_like(RAMP, 255))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and logits.grad.eq(0).all()


def test_spg_constant_class_map_decides_nothing() -> None:
    assert spg.seeds(spg.attention(torch.full((2, 4, 4), 0.3), (32, 32)), 0.7, 0.1).eq(255).all()


def test_spg_selects_the_channel_before_it_enlarges() -> None:
    maps, labels = torch.randn(3, 5, 14, 14), torch.tensor([4, 0, 2])
    before = spg.enlarge(maps[range(3), labels][:, None], (224, 224))
    assert torch.equal(before[:, 0], spg.enlarge(maps, (224, 224))[range(3), labels])


@pytest.mark.parametrize("source", ["attention", "b2", "fused"])
def test_spg_thresholds_are_ordered(source: str) -> None:
    same = {f"{source}_high": 0.4, f"{source}_low": 0.4}
    spg.Config(**same)
    with pytest.raises(ValidationError, match=f"{source}_low"):
        spg.Config(**{**same, f"{source}_high": 0.3})
    with pytest.raises(ValidationError, match=f"above {source}_high"):
        spg.Config(**{f"{source}_high": 0.001})  # below the default of the other
