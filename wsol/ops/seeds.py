"""Draws random pixels of which a score map is certain: some of the object and some of the background; all others are
left open."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 256
IGNORED = 255


def draw_seeds(
    scores: Tensor, *, foreground: int, background: int, background_pool: float, erosion_size: int, seed_size: int
) -> Tensor:
    """Labels of a few pixels, drawn anew in every call with torch's global generator.

    Object seeds come from the pixels above the Otsu threshold of an image, after an erosion; background seeds come from
    the pixels with the lowest scores. Every seed becomes a square; where squares of both kinds overlap, pixels are left
    open.

    Args:
        scores: (B, H, W) float32 in [0, 1].
        foreground: number of object pixels that are drawn, or all if there are fewer.
        background: number of background pixels that are drawn, likewise.
        background_pool: share of the pixels that background is drawn from, in [0, 1].
        erosion_size: odd side in pixels of the square of the erosion; 1: none.
        seed_size: odd side in pixels of a seed.

    Returns:
        (B, H, W) int64: 1 object, 0 background, 255 open; all open where the 8-bit map is constant.
    """
    levels = (scores * (LEVELS - 1)).long()
    varied = levels.amin((1, 2), keepdim=True) < levels.amax((1, 2), keepdim=True)
    threshold = otsu(levels).clamp(1, LEVELS - 2)[:, None, None]
    objects = dilate(draw(erode(levels > threshold, erosion_size) & varied, foreground), seed_size)
    rest = dilate(draw(lowest(scores, background_pool) & varied, background), seed_size)
    labels = torch.full_like(levels, IGNORED)
    return labels.masked_fill(objects & ~rest, 1).masked_fill(rest & ~objects, 0)


def otsu(levels: Tensor) -> Tensor:
    """Otsu's threshold: the level with the largest between-class variance of the pixels up to it and those above.

    Args:
        levels: (B, H, W) int64 in [0, 255].

    Returns:
        (B,) int64, the lowest among equals; 0 for a constant image.
    """
    flat = levels.flatten(1)
    counts = torch.zeros(len(flat), LEVELS, dtype=torch.float64, device=flat.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))
    below, mass = counts.cumsum(1), (counts * torch.arange(LEVELS, device=flat.device)).cumsum(1)
    total, whole = below[:, -1:], mass[:, -1:]
    variance = (whole * below - total * mass).square() / (below * (total - below)).clamp(
        min=1
    )  # an empty class: 0 over 1
    return variance.argmax(1)


def erode(masks: Tensor, size: int) -> Tensor:
    """Erode masks (B, H, W) bool: a pixel stays if the whole square around it is set. Pixels outside of the image count
    as set, and a mask that would vanish stays as it is."""
    eroded = ~dilate(~masks, size)
    return torch.where(eroded.any(2).any(1)[:, None, None], eroded, masks)


def dilate(masks: Tensor, size: int) -> Tensor:
    """Dilate masks (B, H, W) bool: every pixel becomes a square with an odd side of `size` pixels, clipped to the
    image."""
    rows = F.max_pool2d(masks[:, None].float(), (size, 1), 1, (size // 2, 0))
    return F.max_pool2d(rows, (1, size), 1, (0, size // 2))[:, 0] > 0


def draw(masks: Tensor, count: int) -> Tensor:
    """`count` random pixels of each mask (B, H, W) bool, without repetition; all pixels of a mask that has fewer."""
    flat = masks.flatten(1)
    lots = torch.rand(flat.shape, device=flat.device).masked_fill(~flat, -1)
    drawn = lots.topk(min(count, flat.shape[1]), dim=1)
    return torch.zeros_like(flat).scatter_(1, drawn.indices, drawn.values >= 0).view(masks.shape)


def lowest(scores: Tensor, share: float) -> Tensor:
    """The `share` (in [0, 1]) of the pixels of scores (B, H, W) with the lowest values, as a mask (B, H, W) bool; among
    equals, the first in reading order."""
    flat = scores.flatten(1)
    chosen = flat.argsort(dim=1, stable=True)[:, : int(share * flat.shape[1])]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, chosen, True).view(scores.shape)
