"""The extended log-barrier: a smooth stand-in for the constraint value <= 0 that is finite everywhere.

"Constrained Deep Networks: Lagrangian Optimization via Log-Barrier Extensions" (Kervadec et al., EUSIPCO 2022).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def extended_log_barrier(values: Tensor, sharpness: float) -> Tensor:
    """-log(-v) / t below v = -1/t^2, and from there on its tangent; t is the sharpness.

    Args:
        values: floats of any shape; the constraint is that they are not positive.
        sharpness: > 0; the larger, the closer to 0 inside and to infinity outside.

    Returns:
        the same shape, with a finite gradient.
    """
    border = 1 / sharpness**2
    inside = values <= -border
    logarithm = -torch.log(torch.where(inside, -values, 1.0)) / sharpness
    tangent = sharpness * values - math.log(border) / sharpness + 1 / sharpness
    return torch.where(inside, logarithm, tangent)


def size_barrier(regions: Tensor, sharpness: float) -> Tensor:
    """Mean barrier of the constraint that sizes are not negative, which makes every region large.

    Args:
        regions: (B, k, H, W) in [0, 1]; a region's size is its sum, in pixels.
        sharpness: see `extended_log_barrier`.
    """
    return extended_log_barrier(-regions.sum((2, 3)), sharpness).mean()


def sharpness_at(epoch: int, start: float, growth: float, largest: float) -> float:
    """The sharpness in an epoch (1-based), which grows by a factor from one to the next up to the largest one."""
    return min(start * growth ** (epoch - 1), largest)
