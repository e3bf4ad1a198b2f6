"""Shared by several normalizers: maps without a scale become zeros, and percentiles of a map."""

from __future__ import annotations

import torch
from torch import Tensor


def without_broken(maps: Tensor) -> Tensor:
    """Constant maps, and maps with a value that is not finite, replaced by zeros, with zero gradient.

    This has to happen before anything is computed, because a NaN would poison the gradient even behind a later `where`.

    Args:
        maps: (B, H, W) floats; not changed.

    Returns:
        (B, H, W), same type.
    """
    extent = maps.detach().amax((1, 2), keepdim=True) - maps.detach().amin((1, 2), keepdim=True)
    return torch.where(torch.isfinite(extent) & (extent > 0), maps, 0.0)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Numerator (B, H, W) over denominator (B, 1, 1); zeros with zero gradient if the denominator is not positive."""
    positive = denominator > 0
    return torch.where(positive, numerator, 0.0) / torch.where(positive, denominator, 1.0)


def order_statistic(maps: Tensor, index: int) -> Tensor:
    """The value (B, 1, 1) at an index of every map's values in ascending order; the last value for an index beyond
    it."""
    values = maps.flatten(1)
    kth: Tensor = values.kthvalue(min(index, values.shape[1] - 1) + 1, dim=1).values
    return kth[:, None, None]
