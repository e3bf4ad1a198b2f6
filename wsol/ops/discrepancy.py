"""Distances between two sets of feature vectors: maximum mean discrepancies, one for each pair of sets, and the
gradient reversal for training against a discriminator.

The kernel is a sum of five Gaussians over squared distances. Their widths grow by factors of 2 around the mean distance
of all rows of both sets, which carries no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

KERNELS, RATIO = 5, 2.0


def linear_mmd(source: Tensor, target: Tensor) -> Tensor:
    """Maximum mean discrepancy from neighbouring rows only, in time and memory O(V n C).

    Args:
        source: (V, n, C) float, V sets of n rows.
        target: (V, n, C), as many rows.

    Returns:
        (V,) in [-10, 10]; an unbiased estimate, so it may be negative. 0 where all rows of a pair are equal.
    """
    bandwidth = _bandwidth(source, target)[:, None]
    next_source, next_target = source.roll(-1, dims=1), target.roll(-1, dims=1)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return _kernel((a - b).square().sum(2), bandwidth)

    return (
        kernel(source, next_source)
        + kernel(target, next_target)
        - kernel(source, next_target)
        - kernel(next_source, target)
    ).mean(1)


def full_mmd(source: Tensor, target: Tensor) -> Tensor:
    """Maximum mean discrepancy from all pairs of rows (the biased estimate, a row with itself included).

    Arguments are those of `linear_mmd`; the result (V,) in [0, 10] has another scale.
    """
    rows = torch.cat((source, target), dim=1)
    # Not through products of rows, which lose the small distances.
    values = _kernel((rows[:, :, None] - rows[:, None]).square().sum(3), _bandwidth(source, target)[:, None, None])
    signs = torch.cat((rows.new_ones(source.shape[1]), rows.new_full((target.shape[1],), -1.0)))
    return torch.einsum("vpq,p,q->v", values, signs, signs) / source.shape[1] ** 2


def reverse_gradient(values: Tensor, factor: float) -> Tensor:
    """The same values, of any shape; their gradient times `-factor`."""
    return values.detach() - factor * (values - values.detach())


def _kernel(distances: Tensor, bandwidth: Tensor) -> Tensor:
    return torch.stack([torch.exp(-distances / (RATIO**power * bandwidth)) for power in range(KERNELS)]).sum(0)


@torch.no_grad()
def _bandwidth(source: Tensor, target: Tensor) -> Tensor:
    """(V,), the width of the narrowest kernel."""
    rows = torch.cat((source, target), dim=1)
    count = rows.shape[1]
    # The squared distances of all pairs sum up to 2 n times those to the mean.
    spread = 2 * count * (rows - rows.mean(1, keepdim=True)).square().sum((1, 2))
    bandwidth = spread / (count * (count - 1)) / RATIO ** (KERNELS // 2)
    return bandwidth.where(bandwidth > 0, 1.0)
