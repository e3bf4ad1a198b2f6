"""The CRF loss: recorded energies and gradients, and slow references."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.f_cam import assert_close
from tests.support.vectors import files, load
from wsol.ops import lattice
from wsol.ops.crf import dense_crf_energy, exact_filter, pixel_features
from wsol.ops.lattice import lattice_filter

FILTERS = {"exact": (exact_filter, 1e-4), "reference_lattice": (lattice_filter, 1e-6)}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("path", files("dense_crf_energy"))
def test_energy_and_gradient_are_the_recorded_ones(path: Path, kind: str) -> None:
    vector, (filtered_by, tolerance) = load(path), FILTERS[kind]
    regions = torch.from_numpy(vector["segmentation"]).requires_grad_()
    sigmas = {"sigma_color": float(vector["sigma_rgb"]), "sigma_space": float(vector["sigma_xy"])}
    energy = dense_crf_energy(regions, torch.from_numpy(vector["images_0_255"]), **sigmas, filtered_by=filtered_by)
    energy.backward()
    assert_close(energy, vector[f"{kind}_loss"], tolerance)
    assert_close(-regions.grad * len(regions) / 2, vector[f"{kind}_filtered"], tolerance)
    if f"{kind}_grad" in vector:
        assert_close(regions.grad, vector[f"{kind}_grad"], tolerance)


def pattern(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixels (1, 3, H, W) and two regions (1, 2, H, W) that sum to 1."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([(7 * x + 11 * y + 40 * channel) % 256 for channel in range(3)])
    second = ((x + 2 * y) % 5) / 4
    return pixels[None].double(), torch.stack((1 - second, second))[None].double()


PATTERNS = [
    (8, 8, 15, 100, 97, (221.20483, 0.230603, 0.555521, 4.262136), (410.99914, 0.725730, 1.124670, 8.256284)),
    (8, 8, 15, 4, 149, (139.84052, 0.182124, 0.401070, 2.770131), (311.35228, 0.673456, 1.059514, 6.608450)),
    (16, 12, 10, 8, 393, (495.08435, 0.053711, 0.169919, 2.941606), (1098.09384, 0.232778, 0.469851, 6.677105)),
]


@pytest.mark.parametrize(("height", "width", "color", "space", "corners", "lattice_values", "exact_values"), PATTERNS)
def test_numbers_of_a_pattern(
    height: int,
    width: int,
    color: float,
    space: float,
    corners: int,
    lattice_values: tuple[float, ...],
    exact_values: tuple[float, ...],
) -> None:
    """Those of the published filter and those of the sum over all pairs; sums, two corners, one pixel inside."""
    pixels, regions = pattern(height, width)
    features, values = pixel_features(pixels, color, space), regions.flatten(2).transpose(1, 2)
    assert lattice.Lattice.under(features).neighbours.shape == (6, 2, corners)
    for filtered_by, expected in ((lattice_filter, lattice_values), (exact_filter, exact_values)):
        sums = filtered_by(features, values)
        read = sums[0].T.reshape(2, height, width)
        found = [(sums * values).sum(), read[1, 0, 0], read[1, -1, -1], read[0, 3, 4]]
        assert [value.item() for value in found] == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("filtered_by", [exact_filter, lattice_filter])
def test_images_of_a_batch_do_not_see_each_other(filtered_by, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, regions = pattern(8, 8)
    both, parts = torch.cat((pixels, 255 - pixels)), torch.cat((regions, regions.flip(1)))
    sigmas = {"sigma_color": 15.0, "sigma_space": 100.0, "filtered_by": filtered_by}
    together = dense_crf_energy(parts, both, **sigmas)
    singly = [dense_crf_energy(parts[i : i + 1], both[i : i + 1], **sigmas) for i in range(2)]
    assert together.item() == pytest.approx(torch.stack(singly).mean().item(), rel=1e-6)
    if filtered_by is lattice_filter:
        assert together.item() == pytest.approx(-223.466339, rel=1e-7)
        monkeypatch.setitem(lattice.POINTS_AT_ONCE, "cpu", 1)
        assert torch.equal(dense_crf_energy(parts, both, **sigmas), together)


@pytest.mark.parametrize("filtered_by", [exact_filter, lattice_filter])
def test_the_gradient_is_minus_two_sums_over_images(filtered_by) -> None:
    pixels, regions = pattern(16, 12)
    parts = torch.cat((regions, regions.flip(1))).requires_grad_()
    dense_crf_energy(
        parts, torch.cat((pixels, pixels)), sigma_color=20, sigma_space=5, filtered_by=filtered_by
    ).backward()
    sums = filtered_by(pixel_features(torch.cat((pixels, pixels)), 20, 5), parts.detach().flatten(2).transpose(1, 2))
    torch.testing.assert_close(parts.grad, -sums.transpose(1, 2).reshape(parts.shape))


def test_the_exact_filter_is_the_sum_over_all_pairs() -> None:
    """And the energy is the penalty of cut pairs less a number of the image."""
    torch.manual_seed(0)
    pixels, regions = (
        255 * torch.rand(2, 3, 12, 10, dtype=torch.float64),
        torch.randn(2, 2, 12, 10, dtype=torch.float64).softmax(1),
    )
    features = pixel_features(pixels, 40, 6)
    kernel = torch.exp(-torch.cdist(features, features).square() / 2)
    values = regions.flatten(2).transpose(1, 2)
    torch.testing.assert_close(exact_filter(features, values), kernel @ values, rtol=1e-5, atol=1e-6)
    cut = torch.einsum("bpk,bpq,bqk->b", values, kernel, 1 - values)
    energy = dense_crf_energy(regions, pixels, sigma_color=40, sigma_space=6, filtered_by=exact_filter)
    assert energy.item() == pytest.approx((cut - kernel.sum((1, 2))).mean().item(), rel=1e-5)


def test_too_small_deviations_are_refused() -> None:
    with pytest.raises(ValueError, match="larger deviations"):
        lattice_filter(pixel_features(255 * torch.rand(1, 3, 16, 16), 0.01, 0.01), torch.rand(1, 256, 2))
