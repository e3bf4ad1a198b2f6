"""Hide-and-Seek: the cells of the reference."""

from __future__ import annotations

import pytest
import torch

from wsol import plugins
from wsol.contract.networks import make
from wsol.methods.has import hide
from wsol.types import Batch


def test_has_hides_the_cells_of_the_reference() -> None:
    """Cells of 100 pixels on 224: 100, 100 and 24 in each axis; K K D / D K D / K D D are the reference's draws at seed
    0."""
    kept = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 0]]).bool()
    pixels = hide(torch.ones(1, 3, 224, 224), kept[None], 100)[0]
    edges = [0, 100, 200, 224]
    for row in range(3):
        for column in range(3):
            cell = pixels[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
            assert (cell == kept[row, column]).all()


def test_has_hides_both_axes_of_a_wide_image() -> None:
    assert (hide(torch.ones(1, 3, 4, 8), torch.zeros(1, 2, 4).bool(), 2) == 0).all()


@pytest.mark.parametrize(("rate", "low", "high"), [(0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.3, 0.65, 0.75)])
def test_has_drop_rate(rate: float, low: float, high: float) -> None:
    plugin = plugins.load("method", "has")
    method = plugin.build(plugin.Config(cell_size=3, drop_rate=rate), make("cam").network)
    images = method.augment(Batch(torch.ones(4, 3, 100, 130), torch.zeros(4).long())).images
    assert low <= images.mean() <= high
    assert (images == images[:, :1]).all()  # all channels
    assert rate in (0, 1) or not torch.equal(images[0], images[1])  # each image for itself
