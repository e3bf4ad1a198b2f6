"""CutMix: the boxes of the reference."""

from __future__ import annotations

import pytest
import torch

from wsol import plugins
from wsol.contract.networks import make
from wsol.methods.cutmix import cut_box, draw_share, mix
from wsol.types import Batch


@pytest.mark.parametrize(
    ("share", "center", "box", "left_over"),
    [
        (0.5, (112, 112), (33, 33, 191, 191), 0.5024713010204082),
        (0.5, (0, 223), (0, 144, 79, 224), 0.8740433673469388),
        (0.25, (50, 60), (0, 0, 146, 156), 0.5460778061224489),
        (0.0, (112, 112), (0, 0, 224, 224), 0.0),
        (1.0, (5, 5), (5, 5, 5, 5), 1.0),
    ],
)
def test_cutmix_boxes_of_the_reference(
    share: float, center: tuple[int, int], box: tuple[int, ...], left_over: float
) -> None:
    found = cut_box((224, 224), share, center)
    assert found == box
    batch = mix(Batch(torch.zeros(2, 3, 224, 224), torch.tensor([0, 1])), torch.tensor([1, 0]), found)
    assert 1 - batch.mixed_weight == pytest.approx(left_over, abs=1e-12)


def test_cutmix_pastes_from_the_unmixed_batch() -> None:
    images = torch.arange(3.0)[:, None, None, None].expand(3, 3, 10, 20)
    batch = mix(Batch(images, torch.tensor([5, 6, 7])), torch.tensor([1, 2, 0]), (2, 4, 6, 14))
    for image, other in enumerate((1, 2, 0)):
        assert (batch.images[image, :, 2:6, 4:14] == other).all()
        assert (batch.images[image] == other).sum() == 3 * 4 * 10
    assert batch.mixed_labels is not None and batch.mixed_labels.tolist() == [6, 7, 5]
    assert batch.mixed_weight == pytest.approx(40 / 200)
    assert [weight for _, weight in batch.label_sets()] == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize(("probability", "deviation"), [(0.0, 0), (0.4, 0.09), (1.0, 0)])
def test_cutmix_probability(probability: float, deviation: float) -> None:
    plugin = plugins.load("method", "cutmix")
    method = plugin.build(plugin.Config(probability=probability), make("cam").network)
    batch = Batch(torch.randn(4, 3, 8, 8), torch.arange(4))
    torch.manual_seed(0)
    mixed = sum(method.augment(batch).mixed_labels is not None for _ in range(300)) / 300
    assert mixed == pytest.approx(probability, abs=deviation)


@pytest.mark.parametrize("alpha", [0.001, 0.04, 1.0, 50.0])
def test_cutmix_share_is_beta_distributed(alpha: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)), also where gamma variables would underflow."""
    torch.manual_seed(0)
    draws = torch.tensor([draw_share(alpha) for _ in range(2000)])
    assert ((draws >= 0) & (draws <= 1)).all()
    assert draws.mean().item() == pytest.approx(0.5, abs=0.04)
    assert draws.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
