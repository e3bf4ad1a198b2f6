"""The contract that every normalizer keeps: the range, gradients and broken maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsol.build import Normalizer
from wsol.contract.found import NORMALIZERS, built


@pytest.fixture(params=NORMALIZERS, ids=lambda variant: "-".join([variant[0], *variant[1]]))
def normalizer(request: pytest.FixtureRequest) -> Normalizer:
    """Each of them, and the variant of one that is another formula."""
    name, settings = request.param
    made: Normalizer = built("normalizer", name, **settings)
    return made


def test_maps_land_in_the_unit_range_and_the_input_is_left_alone(normalizer: Normalizer) -> None:
    maps = torch.randn(4, 9, 7, dtype=torch.float64) * 50
    kept = maps.clone()
    scaled = normalizer(maps)
    assert scaled.shape == maps.shape and scaled.dtype == maps.dtype
    assert scaled.min() >= 0 and scaled.max() <= 1
    assert torch.equal(maps, kept)


def test_every_map_is_scaled_on_its_own(normalizer: Normalizer) -> None:
    maps = torch.randn(3, 8, 8, dtype=torch.float64)
    assert torch.equal(normalizer(maps), torch.cat([normalizer(one[None]) for one in maps]))


@pytest.mark.parametrize("value", [0.0, 0.3, -1e30, float("nan"), float("inf"), float("-inf")])
def test_constant_and_broken_maps_become_zeros_and_harm_no_other(normalizer: Normalizer, value: float) -> None:
    maps = torch.randn(2, 6, 6, dtype=torch.float64)
    alone = normalizer(maps[1:])
    maps[0] = value
    assert not normalizer(maps)[0].any()
    if not np.isfinite(value):
        maps[0, 1:] = 0.5
        assert not normalizer(maps)[0].any()
    assert torch.equal(normalizer(maps)[1:], alone)


def test_gradients_are_finite(normalizer: Normalizer) -> None:
    maps = torch.randn(3, 6, 6, dtype=torch.float64)
    maps[0], maps[1, 0, 0] = 0.7, float("nan")
    maps.requires_grad_()
    normalizer(maps).square().sum().backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None and torch.isfinite(maps.grad).all()
    assert not maps.grad[:2].any() and maps.grad[2].any()


def test_gradients_are_exact(normalizer: Normalizer) -> None:
    maps = torch.from_numpy(np.random.default_rng(0).permutation(30).reshape(1, 5, 6) / 7.0 - 1.5).requires_grad_()
    assert torch.autograd.gradcheck(normalizer, maps)
