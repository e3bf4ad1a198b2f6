"""How long DA-WSOL takes to cluster the cells of an image: this package against the released way, on the same features,
in the same run.

    python -m benchmarks.assigner [--images 32] [--device cuda]

The released code calls scikit-learn's KMeans for each image on the host: 3 clusters, given centres, one start, defaults
else. Timed are its fits alone, without the copy of the features to the host, against the whole assigner of a batch:
starts, clusters, and the update of the anchors. Both have one thread of the host. Labels must be the same.
"""

from __future__ import annotations

import argparse
import time

import torch
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor, nn

from benchmarks.row import Row, tell
from wsol import distributed
from wsol.method import Method
from wsol.methods import da_wsol
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.ops import anchors

CLASSES = 200
ROUNDS = 5
SIZES = ((2048, 28), (1024, 28), (2048, 14), (1280, 8))
"""Channels and cells in a row of feature maps: ResNet-50 with stride 8, Inception, ResNet-50 with stride 16,
EfficientNet-Lite0 at 128 pixels."""

ROW = "{:<16} {:>6} {:>10} {:>13} {:>8} {:>7}  {}"


def main() -> None:
    """Print one row for each size of feature maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32, help="images in a batch")
    parser.add_argument("--device", default=distributed.device().type, help="where this package clusters")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    threadpool_limits(1)
    print(
        f"milliseconds per image, fastest of {ROUNDS} rounds; this package on {options.device}, scikit-learn on the"
        " host"
    )
    print(ROW.format("features", "images", "iterations", "scikit-learn", "ours", "ratio", "labels"))
    for channels, side in SIZES:
        print(
            ROW.format(
                f"{channels}x{side}x{side}", options.images, *compare(channels, side, options.images, options.device)
            ),
            flush=True,
        )


def compare(channels: int, side: int, images: int, device: str) -> tuple[str, ...]:
    """One row: iterations, both times, their ratio, and whether all labels are equal. Each round meets the anchors that
    the last one left."""
    method, labels = make_method(channels).to(device), torch.arange(images, device=device) % CLASSES
    theirs, ours, differing, iterations = float("inf"), float("inf"), 0, 0
    for _ in range(ROUNDS):
        cells = make_features(images, channels, side).to(device).flatten(2).mT
        starts, _ = anchors.starts(method.anchor_sums, method.anchor_counts, labels, cells.mean(1))
        on_host = list(zip(cells.cpu().numpy(), starts.cpu().numpy(), strict=True))
        begin = time.perf_counter()
        fits = [KMeans(3, init=start, n_init=1, random_state=0).fit(image) for image, start in on_host]
        middle = time.perf_counter()
        clusters = method.split(cells, [labels])[0].cpu()
        ours, theirs = min(ours, time.perf_counter() - middle), min(theirs, middle - begin)
        differing += sum(
            int((torch.from_numpy(fit.labels_) != found).sum()) for fit, found in zip(fits, clusters, strict=True)
        )
        iterations += sum(fit.n_iter_ for fit in fits)
    equal = "equal" if differing == 0 else f"DIFFERENT: {differing} of {ROUNDS * images * side**2}"
    times = f"{1000 * ours / images:.2f} ms", f"scikit-learn: {1000 * theirs / images:.2f} ms"
    tell(Row(f"assigner, {channels}x{side}x{side}, {device}", *times, theirs / ours, ">= 50"))
    return (
        f"{iterations / images / ROUNDS:.1f}",
        f"{1000 * theirs / images:.3f}",
        f"{1000 * ours / images:.3f}",
        f"{theirs / ours:.1f}x",
        equal,
    )


def make_method(channels: int) -> da_wsol.DomainAdaptation:
    """The method without a network."""
    backbone = Backbone({"none": nn.Identity()}, {"none": BlockInfo(channels, 1)})
    return da_wsol.DomainAdaptation(Method(Classifier(backbone, CamHead(channels, CLASSES))), da_wsol.Config())


def make_features(images: int, channels: int, side: int) -> Tensor:
    """Feature maps behind a ReLU, channels last as in training, with a blob of one kind of cells and an edge of
    another."""
    kinds = torch.randn(images, 3, channels)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    blob, part = torch.exp(-4 * (x**2 + y**2)), torch.exp(-20 * ((x - 0.2) ** 2 + y**2))
    mixed = torch.einsum("bkc,khw->bchw", kinds, torch.stack((1 - blob, blob, part)))
    return (mixed + 0.5 * torch.randn_like(mixed)).relu().contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
