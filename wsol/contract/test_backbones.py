"""The contract that every backbone keeps: shapes, strides, configuration, random weights."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from wsol import plugins
from wsol.contract.found import backbone, usable

NAMES = usable("backbone")


def strides(name: str) -> list[int]:
    """That the backbone can have."""
    return list(plugins.load("backbone", name).Config.model_fields["stride"].annotation.__args__)


@pytest.mark.parametrize(("name", "stride"), [(name, stride) for name in NAMES for stride in strides(name)])
@torch.no_grad()
def test_info_says_the_channels_and_stride_of_every_block(name: str, stride: int) -> None:
    made = backbone(name, stride=stride)
    features, taps = made(torch.randn(1, 3, 64, 96), made.block_names)
    assert list(made.info) == made.block_names == list(taps)
    for block, info in made.info.items():
        assert taps[block].shape[1] == info.channels
        # Inception's stem has a convolution without padding, which costs two cells
        assert all(
            abs(cells - side / info.stride) <= 2 for cells, side in zip(taps[block].shape[2:], (64, 96), strict=True)
        ), block
    assert features.shape == (1, made.channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_change_their_input(name: str) -> None:
    made, x = backbone(name), torch.randn(1, 3, 64, 64)
    for block in made.blocks.values():
        before = x.clone()
        after = block(x)
        assert torch.equal(x, before)
        x = after.detach()


@pytest.mark.parametrize("name", NAMES)
def test_config_is_closed(name: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        plugins.load("backbone", name).Config(name=name, unknown=1)
    with pytest.raises(ValidationError, match="stride"):
        plugins.load("backbone", name).Config(name=name, stride=4)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tiny"])
def test_weights_none_needs_no_file_and_is_seeded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", None)
    torch.manual_seed(3)
    first = backbone(name).state_dict()
    torch.manual_seed(3)
    second = backbone(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
