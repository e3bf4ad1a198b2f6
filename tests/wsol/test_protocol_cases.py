"""Cases of the protocol's test vectors that have no better place: small inputs, methods, and whole networks at their
real size."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.protocol import GRID, METHODS, NETWORKS, around, backbone_config
from wsol import build, plugins
from wsol.config import OptimConfig
from wsol.methods import adl, has, spg
from wsol.network import CamHead, Classifier
from wsol.ops.boxes import iou, quantise
from wsol.optim import decay
from wsol.types import Batch

# --- evaluator on small inputs ----------------------------------------------------------------------------------------


def test_overlap_of_equal_boxes_is_an_array_of_float64_ones() -> None:
    overlap = iou(np.zeros((3, 4), np.int64), np.zeros((5, 4), np.int64))
    assert overlap.dtype == np.float64 and overlap.shape == (3, 5) and (overlap == 1.0).all()


def test_every_8_bit_value_survives_the_way_to_a_score_and_back() -> None:
    values = np.arange(256)
    assert quantise((values / 255)[None]).tolist() == [values.tolist()]


# --- methods ----------------------------------------------------------------------------------------------------------


def test_has_hides_the_cells_of_the_published_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draws of Python's generator at seed 0, cell by cell along the rows: a cell is kept at .8444, .7580, then
    hidden at .4206, and so on."""
    python = random.Random(0)
    draws = torch.tensor([python.random() for _ in range(9)]).reshape(1, 3, 3)
    assert draws.flatten().tolist() == pytest.approx(
        [0.8444, 0.7580, 0.4206, 0.2589, 0.5113, 0.4049, 0.7838, 0.3033, 0.4766], abs=5e-5
    )
    asked: list[tuple[int, ...]] = []

    def rand(*shape: int, device: torch.device) -> Tensor:
        asked.append(shape)
        return draws

    monkeypatch.setattr(torch, "rand", rand)
    method = has.build(has.Config(cell_size=100, drop_rate=0.5), small_network())
    images = method.augment(Batch(torch.ones(1, 3, GRID, GRID), torch.zeros(1).long())).images
    kept = torch.tensor([[1.0, 1, 0], [0, 1, 0], [1, 0, 0]])
    expected = kept.repeat_interleave(torch.tensor([100, 100, 24]), 0).repeat_interleave(
        torch.tensor([100, 100, 24]), 1
    )
    assert asked == [(1, 3, 3)]
    assert torch.equal(images, expected.expand(1, 3, GRID, GRID))


def small_network() -> Classifier:
    plugin = plugins.load("backbone", "tiny")
    blocks = plugin.build(plugin.Config(weights="none"))
    return Classifier(blocks, CamHead(blocks.channels, 2))


def test_adl_share_of_drops_over_4000_passes() -> None:
    torch.manual_seed(0)
    layer, features = adl.AttentionDropout(0.8, 0.25), torch.tensor([[[[0.0, 1.0], [2.0, 4.0]]]])
    drops = [bool(layer(features)[0, 0, 1, 1] == 0) for _ in range(4000)]
    assert np.mean(drops) == pytest.approx(0.25, abs=0.02)  # three deviations


@pytest.mark.parametrize(("epochs", "every", "last"), [(10, 3, (2, 5, 8, 10)), (50, 15, (14, 29, 44, 50))])
def test_learning_rate_of_every_epoch(epochs: int, every: int, last: tuple[int, ...]) -> None:
    """`last` are the last epochs at 1, 0.1, 0.01 and 0.001 of the rate."""
    config = OptimConfig(lr=0.1, lr_decay_every=every)
    expected = [0.1 ** sum(epoch > end for end in last) for epoch in range(1, epochs + 1)]
    assert [decay(epoch, config) for epoch in range(1, epochs + 1)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("backbone", NETWORKS)
def test_maps_of_224_pixels_have_14_or_28_cells(backbone: str, name: str, stride: int) -> None:
    with torch.device("meta"):  # shapes without numbers
        method = around(build.network(backbone_config(backbone, stride), 200), name).eval()
        images, labels = torch.empty(2, 3, GRID, GRID), torch.zeros(2, dtype=torch.int64)
    scored = method.score_maps(images, labels)
    assert scored.maps.shape == (2, GRID // stride, GRID // stride)
    assert scored.logits.shape == (2, 200)


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("backbone", NETWORKS)
def test_spg_side_maps_and_attentions(backbone: str, stride: int) -> None:
    with torch.device("meta"):
        method = around(build.network(backbone_config(backbone, stride), 200), "spg").eval()
        images, labels = torch.empty(2, 3, GRID, GRID), torch.zeros(2, dtype=torch.int64)
    activations = method.activate(images, labels)
    head = method.network.head
    assert isinstance(head, spg.GuidedHead)
    sides = head.sides(activations)
    assert [side.shape for side in sides] == [(2, 1, GRID // stride, GRID // stride)] * 3
    assert spg.attention(method.class_map(activations, labels), (GRID, GRID)).shape == (2, 1, GRID, GRID)
    fused = (spg.enlarge(sides[0], (GRID, GRID)).sigmoid() + spg.enlarge(sides[1], (GRID, GRID)).sigmoid()) / 2
    assert fused.shape == (2, 1, GRID, GRID)
