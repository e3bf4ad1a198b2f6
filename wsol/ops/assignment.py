"""Clusters of the cells of feature maps: k-means from given centres, one problem for each image, all at once.

The rule is Lloyd's as scikit-learn runs it: ties go to the lowest cluster; an empty cluster takes the cell that is
farthest from its centre; an image is done when its labels repeat, or when its centres hardly move, and then is labelled
once more.
"""

from __future__ import annotations

import torch
from torch import Tensor

CACHED_BYTES = 4 << 20
"""Bytes of the cells that are clustered together on a CPU, so that they stay in its cache over all iterations."""


@torch.no_grad()
def k_means(cells: Tensor, centers: Tensor, iterations: int = 300, tolerance: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Cluster the cells of every image.

    Args:
        cells: (B, N, C) float32 or float64.
        centers: (B, k, C) of the same type, the initial centres.
        iterations: the largest number of iterations.
        tolerance: in units of the mean variance of a channel: centres whose squared moves sum up to no more have
            arrived.

    Returns:
        labels (B, N) int64 in [0, k), and centres (B, k, C).
    """
    count = max(1, CACHED_BYTES // cells[0].nbytes) if cells.device.type == "cpu" else len(cells)
    parts = [
        _lloyd(*part, iterations, tolerance)
        for part in zip(torch.split(cells, count), torch.split(centers, count), strict=True)
    ]
    return torch.cat([labels for labels, _ in parts]), torch.cat([moved for _, moved in parts])


def _lloyd(cells: Tensor, centers: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    lengths = torch.linalg.vector_norm(cells, dim=2).square()
    variance = (lengths.mean(1) - cells.mean(1).square().sum(1)).clamp(min=0) / cells.shape[2]
    labels = torch.full_like(lengths, -1, dtype=torch.int64)
    running = torch.ones_like(variance, dtype=torch.bool)
    repeated = ~running
    for _ in range(iterations):
        found, scores = _nearest(cells, centers)
        moved = _means(cells, found, centers, scores + lengths)
        arrived, same = (moved - centers).square().sum((1, 2)) <= tolerance * variance, (found == labels).all(1)
        centers, labels = moved.where(running[:, None, None], centers), found.where(running[:, None], labels)
        repeated |= running & same
        running &= ~(same | arrived)
        if not running.any():
            break
    return labels.where(repeated[:, None], _nearest(cells, centers)[0]), centers


def _nearest(cells: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre (B, N) of every cell, and the squared distance to it less the cell's squared length."""
    scores = torch.baddbmm(centers.square().sum(2, keepdim=True), centers, cells.mT, alpha=-2)
    # Equal centres are equally far, but their sums may be rounded differently; the first of them has all cells.
    equal = (centers[:, :, None] == centers[:, None]).all(3).tril(-1).any(2)
    lowest, labels = scores.masked_fill(equal[:, :, None], torch.inf).min(1)
    return labels, lowest


def _means(cells: Tensor, labels: Tensor, centers: Tensor, distances: Tensor) -> Tensor:
    """The centres (B, k, C) of the cells of every cluster."""
    clusters = torch.arange(centers.shape[1], device=labels.device)[:, None]
    members = labels[:, None] == clusters
    empty = ~members.any(2)
    if empty.any():
        members = _relocated(labels, empty, distances)[:, None] == clusters
    sizes = members.sum(2, keepdim=True)
    means = members.to(cells.dtype) @ cells / sizes.clamp(min=1)
    largest = sizes.argmax(1, keepdim=True).expand_as(means[:, :1])  # stands in for a cluster that is still empty
    return means.where(sizes > 0, means.gather(1, largest))


def _relocated(labels: Tensor, empty: Tensor, distances: Tensor) -> Tensor:
    """Labels by which the first empty cluster (of (B, k) bool) has the cell farthest from its centre, the second one
    the next."""
    clusters, count = empty.shape[1], labels.shape[1]
    farthest = distances.topk(min(clusters, count), dim=1).indices
    taken = farthest.gather(1, (empty.cumsum(1) - 1).clamp(0, count - 1))
    labels = labels.clone()
    for cluster in range(clusters):
        cell = taken[:, cluster, None]
        labels.scatter_(1, cell, torch.where(empty[:, cluster, None], cluster, labels.gather(1, cell)))
    return labels


def draw(cells: Tensor, inside: Tensor, keys: Tensor, count: int) -> Tensor:
    """Random cells of a region without repetition.

    Args:
        cells: (B, N, C).
        inside: (B, N) bool, the region.
        keys: (B, N) random numbers in [0, 1).
        count: how many, at most N.

    Returns:
        (B, count, C) with gradient, in random order. If the region has fewer cells, other cells follow them.
    """
    chosen = keys.masked_fill(~inside, 1.0).topk(count, dim=1, largest=False).indices
    return cells.gather(1, chosen[:, :, None].expand(-1, -1, cells.shape[2]))
