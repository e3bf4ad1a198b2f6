"""The energy of a dense CRF: low if pixels that are near to each other and similar in colour belong to the same region.

The kernel of pixels p and q is exp(-|f_p - f_q|^2 / 2), f being place over `sigma_space` and colour over `sigma_color`;
it is not normalised. The energy of soft regions s is the negative sum over all pairs of s_p kernel_pq s_q. If the
regions of a pixel sum to 1, this is the Potts penalty of cut pairs minus a constant of the image, so it is negative.

Two filters sum over all pixels: the lattice of the published code (`wsol/ops/lattice.py`), and the exact one. Published
weights are for the lattice with its smaller mass; for the exact filter, multiply them by 0.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsol.ops.lattice import lattice_filter

Filter = Callable[[Tensor, Tensor], Tensor]
"""Features (B, n, 5) and values (B, n, k) -> the kernel's sums (B, n, k), without gradient."""


def dense_crf_energy(
    regions: Tensor, pixels: Tensor, *, sigma_color: float, sigma_space: float, filtered_by: Filter = lattice_filter
) -> Tensor:
    """Mean energy of the images.

    Args:
        regions: (B, k, H, W) floats in [0, 1], with gradient.
        pixels: (B, 3, H, W) in [0, 255].
        sigma_color: standard deviation in units of `pixels`.
        sigma_space: standard deviation in pixels.
        filtered_by: lattice or exact sums.

    Returns:
        scalar, not above 0. Its gradient is -2/B times the filtered regions, as published: the exact derivative if the
        filter is symmetric, which the lattice is up to a few percent.
    """
    values = regions.flatten(2).transpose(1, 2)
    sums = filtered_by(pixel_features(pixels, sigma_color, sigma_space), values.detach())
    return -((2 * values - values.detach()) * sums).sum() / len(regions)


def pixel_features(pixels: Tensor, sigma_color: float, sigma_space: float) -> Tensor:
    """(B, 3, H, W) -> (B, H W, 5) float64: column, row, and three colours, in standard deviations."""
    count, _, height, width = pixels.shape
    places = [torch.arange(length, device=pixels.device).double() / sigma_space for length in (height, width)]
    row, column = torch.meshgrid(*places, indexing="ij")
    planes = torch.cat((torch.stack((column, row)).expand(count, -1, -1, -1), pixels.double() / sigma_color), dim=1)
    return planes.flatten(2).transpose(1, 2)


@torch.no_grad()
def exact_filter(features: Tensor, values: Tensor) -> Tensor:
    """The sums themselves, in quadratic time and, where PyTorch has an attention kernel for float32, linear memory.

    Softmax attention divides by the sum of a pixel's weights. One more key with a known weight reveals that sum.

    Args:
        features: (B, n, 5), in units of the deviation.
        values: (B, n, k).

    Returns:
        (B, n, k) of the type of `values`.
    """
    features = (features - features.mean(1, keepdim=True)).float()
    log_known = math.log(max(features.shape[1] / 20, 1.0))
    half = features.square().sum(2, keepdim=True) / 2
    one = torch.ones_like(half)
    query = F.pad(torch.cat((features, one, half), dim=2), (0, 1))
    key = F.pad(torch.cat((features, -half), dim=2), (0, 2, 0, 1))  # query . key is the kernel's logarithm plus half
    key[:, -1, 5], key[:, -1, 6] = log_known, 1.0
    value = F.pad(values.float(), (0, 8 - values.shape[2], 0, 1))
    value[:, -1, -1] = 1.0
    attended = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=1.0)[:, 0]
    return (math.exp(log_known) * attended[..., : values.shape[2]] / attended[..., -1:]).to(values.dtype)
