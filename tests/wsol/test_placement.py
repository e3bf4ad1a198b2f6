"""In which memory layout a network lies on a CPU, and that its images follow and its maps stay what they are."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training import untrained
from wsol import placement
from wsol.build import bare_method, trained_method
from wsol.config import TrainConfig
from wsol.data.loading import RawBatch, to_batch
from wsol.method import Method


def layouts(method: Method) -> set[torch.memory_format]:
    """Of the weights that tell one layout from the other."""
    wide = [weight for weight in method.parameters() if weight.ndim == 4 and min(weight.shape[1:]) > 1]
    return {
        layout
        for layout in (torch.channels_last, torch.contiguous_format)
        for weight in wide
        if weight.is_contiguous(memory_format=layout)
    }


@pytest.mark.parametrize(
    ("method", "backbone", "layout"),
    [
        ("cam", "efficientnet_lite0", torch.channels_last),
        ("cam", "resnet50", torch.channels_last),
        ("cam", "vgg16", torch.contiguous_format),
        ("acol", "resnet50", torch.contiguous_format),
    ],
)
def test_wide_convolutions_decide(method: str, backbone: str, layout: torch.memory_format) -> None:
    placed = placement.place(untrained(method, backbone, 10))
    assert placed.network.backbone.memory_format == layout
    assert layouts(placed) == {layout}


def test_images_lie_as_the_network_does() -> None:
    raw = RawBatch(torch.randint(0, 256, (2, 5, 5, 3), dtype=torch.uint8), torch.tensor([1, 0]), ("a", "b"))
    for layout in (torch.channels_last, torch.contiguous_format):
        images = to_batch(raw, torch.device("cpu"), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), layout).images
        assert images.is_contiguous(memory_format=layout)


def test_a_trained_method_lies_as_it_did_in_training(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, layout in ((0.6, torch.channels_last), (-1.0, torch.contiguous_format)):
        monkeypatch.setattr(placement, "MOST", most)
        state = bare_method(config, 2).state_dict()
        trained = trained_method(config, state, 2)
        assert trained.network.backbone.memory_format == layout and layouts(trained) == {layout}
        assert all(torch.equal(value, state[name]) for name, value in trained.state_dict().items())
