"""What the CRF of F-CAM costs: the permutohedral lattice against the exact sum over all pairs of pixels, in the same
run.

    python -m benchmarks.crf                 one image
    python -m benchmarks.crf --images 8

Images have the spectrum of photographs and random phases. `error` is the distance to the exact sums, in the length of
the exact ones; `mass` the ratio of both energies; `cosine` that of the gradients with respect to the difference of a
pixel's two scores, which is what trains; `ratio` how many times longer the exact sums take. Memory is what the process
grew by, at most, while it filtered for the first time; on a GPU, the peak of torch's allocator.
"""

from __future__ import annotations

import argparse
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.row import Row, tell
from benchmarks.training import memory, timed
from wsol.distributed import device
from wsol.ops.crf import exact_filter, pixel_features
from wsol.ops.lattice import lattice_filter

ROUNDS = 5
COLOR = 15.0
SPACE_OF_224 = 100.0
FILTERS = {"exact": exact_filter, "lattice": lattice_filter}
ROW = "{:<10}{:<10}{:>7}{:>12}{:>13}{:>8}{:>8}{:>9}{:>8}"


def main() -> None:
    """Print two rows for each size: the exact filter where it is feasible, and the lattice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1, help="images per row")
    parser.add_argument(
        "--largest-exact", type=int, default=112, help="largest side with exact sums; at 224 an image takes seconds"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for filtered in FILTERS.values():
        filtered(*inputs(8, 1))  # libraries load
    print(f"{device()}, CPU time unless on a GPU, fastest of {ROUNDS} rounds, one thread")
    print(ROW.format("size", "filter", "images", "ms/image", "peak MiB", "error", "mass", "cosine", "ratio"))
    for side in (56, 112, 224):
        names = [name for name in FILTERS if name == "lattice" or side <= options.largest_exact]
        costs = {name: measured(name, side, options) for name in names}
        quality = compared(side, options) if "exact" in names else ("-",) * 3
        ratio = f"{costs['exact'][0] / costs['lattice'][0]:.1f}x" if "exact" in costs else "-"
        if "exact" in costs:
            exact, ours = costs["exact"][0], costs["lattice"][0]
            tell(Row(f"CRF, {side}x{side}", f"lattice: {ours:.3g} ms", f"exact: {exact:.3g} ms", exact / ours))
        for name, (milliseconds, mib) in costs.items():
            shown = (*quality, ratio) if name == "lattice" else ("0", "1", "1", "1.0x")
            size = f"{side}x{side}"
            print(ROW.format(size, name, options.images, f"{milliseconds:.1f}", f"{mib:.0f}", *shown), flush=True)


def measured(name: str, side: int, options: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds for each image and MiB."""
    features, values = inputs(side, options.images)
    if features.is_cuda:
        grown = [memory(lambda: FILTERS[name](features, values))]
    else:
        with watched_memory() as grown:
            FILTERS[name](features, values)
    times = [seconds(lambda: FILTERS[name](features, values)) for _ in range(ROUNDS)]
    return 1000 * min(times) / options.images, max(grown)


def seconds(work: Callable[[], object]) -> float:
    """Seconds of a GPU until it is done, or of the processor."""
    if device().type == "cuda":
        return timed(work)
    start = time.process_time()
    work()
    return time.process_time() - start


def compared(side: int, options: argparse.Namespace) -> tuple[str, str, str]:
    """Error, mass and cosine of the lattice."""
    features, values = inputs(side, options.images)
    exact, found = exact_filter(features, values), lattice_filter(features, values)
    slope = values.prod(2)  # of softmax
    gradients = [(slope * (sums[..., 1] - sums[..., 0])).flatten() for sums in (exact, found)]
    error = (found - exact).norm() / exact.norm()
    mass = (values * found).sum() / (values * exact).sum()
    return f"{error:.2f}", f"{mass:.2f}", f"{torch.cosine_similarity(*gradients, dim=0):.3f}"


def inputs(side: int, images: int) -> tuple[Tensor, Tensor]:
    """Features (B, n, 5) of random images and the probabilities (B, n, 2) of a soft blob in the middle."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(side)
    radius = (frequency[:, None].square() + frequency.square()).sqrt().clamp(min=1 / side)
    noise = torch.fft.ifft2(torch.fft.fft2(torch.randn(images, 3, side, side, generator=generator)) / radius).real
    grey = noise.mean(1, keepdim=True)  # colours of photographs go together
    noise = (noise + 2 * grey) / (noise + 2 * grey).std((2, 3), keepdim=True)
    pixels = (128 + 55 * noise).clamp(0, 255).round()
    place = torch.linspace(-2, 2, side)
    inside = torch.sigmoid(2 - 2 * (place[:, None].square() + place.square())).expand(images, side, side)
    values = torch.stack((1 - inside, inside), dim=1).flatten(2).transpose(1, 2).contiguous()
    return pixel_features(pixels.to(device()), COLOR, SPACE_OF_224 * side / 224), values.to(device())


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """MiB by which this process has grown since the start, read every millisecond; the list is complete behind the
    block."""
    done, start = threading.Event(), resident()
    grown = [0.0]

    def watch() -> None:
        while not done.wait(0.001):
            grown.append(resident() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield grown
    finally:
        done.set()
        watcher.join()


def resident() -> float:
    """Memory of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
