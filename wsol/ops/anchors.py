"""Running means of feature vectors over all images seen so far: one for each class, and one for the universum, the
cells of no class.

They are kept as sums (K + 1, C) and counts (K + 1), float64, the last row being the universum's, so that it does not
matter in which order and by which worker images are added. The contribution of one image is a row (2 + 3 C): its class;
1 if its class had no anchor yet, else 0; its pooled feature; the centre its class's anchor moves to; the centre the
universum's anchor moves to.
"""

from __future__ import annotations

import torch
from torch import Tensor


def starts(sums: Tensor, counts: Tensor, labels: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """The centres from which the clusters of each image start.

    Args:
        sums: (K + 1, C) float64.
        counts: (K + 1,) float64.
        labels: (B,) int64 in [0, K).
        pooled: (B, C), the mean of the cells of each image.

    Returns:
        the anchor of the universum (zeros at first), the pooled feature, and the anchor of the class (for a new one the
        pooled feature again), (B, 3, C); and which images have a new class, (B,) bool.
    """
    new = counts[labels] == 0
    known = (sums[labels] / counts[labels].clamp(min=1)[:, None]).to(pooled.dtype)
    universum = (sums[-1] / counts[-1].clamp(min=1)).to(pooled.dtype).expand_as(pooled)
    return torch.stack((universum, pooled, pooled.where(new[:, None], known)), dim=1), new


def rows(labels: Tensor, new: Tensor, pooled: Tensor, of_class: Tensor, of_universum: Tensor) -> Tensor:
    """The rows that images contribute.

    Args:
        labels: (B,) int64 in [0, K).
        new: (B,) bool, see `starts`.
        pooled: (B, C).
        of_class: (B, C), the centre that the class's anchor moves to.
        of_universum: (B, C), likewise.

    Returns:
        (B, 2 + 3 C) of the type of the features (whole numbers below 2^24 are exact in float32).
    """
    return torch.cat(
        (labels[:, None].to(pooled.dtype), new[:, None].to(pooled.dtype), pooled, of_class, of_universum), dim=1
    )


def add(sums: Tensor, counts: Tensor, added: Tensor) -> None:
    """Add the rows of images to sums and counts, in place.

    The anchor of a new class starts from a pooled feature, which counts as one image, or from the mean of those of
    several images.

    Args:
        sums: (K + 1, C) float64.
        counts: (K + 1,) float64.
        added: (n, 2 + 3 C), from `rows`.
    """
    channels = sums.shape[1]
    labels, new, pooled, of_class, of_universum = torch.split(
        added.double(), [1, 1, channels, channels, channels], dim=1
    )
    share = new / ((labels == labels.T) * new.T).sum(1, keepdim=True).clamp(min=1)
    index = labels[:, 0].long()
    sums.index_add_(0, index, of_class + share * pooled)
    counts.index_add_(0, index, 1 + share[:, 0])
    sums[-1] += of_universum.sum(0)
    counts[-1] += len(added)
