"""How long post-hoc maps take: five extractors at four blocks from one pass, against one extractor and block at a time
with hooks, as published.

    python -m benchmarks.extractors                                     ResNet-50 at the ends of its four stages
    python -m benchmarks.extractors --backbone efficientnet_lite0 --blocks mbconv4 mbconv10 mbconv15 top --image-size
    128

The published way is `benchmarks/reference_extractors.py`. Both make the same maps of the same images with the same
random weights, scaled to [0, 1] and compared; Grad-CAM++ divides by differences that cancel, so its last column is
larger. Memory is the peak beyond network and images, as in `benchmarks/training.py`: on a CPU that of a fresh process
(Linux only).
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import reference_extractors
from benchmarks.row import Row, tell
from benchmarks.training import memory
from wsol import build, plugins
from wsol.config import TrainConfig
from wsol.distributed import device
from wsol.extractor import BlockExtractor, extract_together
from wsol.method import Method

NAMES = tuple(reference_extractors.FORMULAS)
ROW = "{:<12} {:<10} {:>12} {:>12} {:>8} {:>10} {:>10} {:>10}"
Maps = dict[tuple[str, str], Tensor]
Work = Callable[[], Maps]


def main() -> None:
    """Print one row for each extractor at one block, and one for all extractors at all blocks."""
    options = arguments()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    if options.child:
        print(memory(ways(cells_of(options.only), options)[options.child]))
        return
    print(
        f"{device()}, {options.images} images of {options.image_size} pixels, {options.backbone} with stride"
        f" {options.stride}, one batch"
    )
    print(ROW.format("extractor", "block", "ms an image", "published", "ratio", "MiB", "published", "difference"))
    for name in NAMES:
        block = options.blocks[-2]
        print(ROW.format(name, block, *compare([f"{name}:{block}"], options)), flush=True)
    everything = [f"{name}:{block}" for block in options.blocks for name in NAMES]
    print(ROW.format(f"all {len(NAMES)}", f"all {len(options.blocks)}", *compare(everything, options)), flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=plugins.names("backbone"), default="resnet50")
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--blocks", nargs="+", default=["layer1_2", "layer2_3", "layer3_5", "layer4_2"])
    parser.add_argument("--images", type=int, default=4, help="images of the batch")
    parser.add_argument("--image-size", type=int, default=112, help="side in pixels")
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=2, help="of each, after one that is not counted")
    parser.add_argument("--threads", type=int, help="threads on a CPU")
    parser.add_argument("--without-memory", action="store_true", help="on a CPU each peak takes a process of its own")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=["ours", "published"], help=argparse.SUPPRESS)
    return parser.parse_args()


def cells_of(words: list[str]) -> list[tuple[str, str]]:
    """`pcs:layer3_5` -> extractor and block."""
    return [(word.partition(":")[0], word.partition(":")[2]) for word in words]


def compare(words: list[str], options: argparse.Namespace) -> tuple[str, ...]:
    """Milliseconds per image, their ratio, memory, and the largest difference between the maps."""
    work = ways(cells_of(words), options)
    made = {kind: run() for kind, run in work.items()}
    seconds = dict.fromkeys(work, float("inf"))
    for _ in range(options.runs):
        for kind, run in work.items():
            seconds[kind] = min(seconds[kind], timed(run))
    difference = max(
        float((scaled(made["ours"][cell]) - scaled(maps)).abs().max()) for cell, maps in made["published"].items()
    )
    used = [] if options.without_memory else [used_by(kind, work[kind], words) for kind in work]
    times = [f"{1000 * seconds[kind] / options.images:.1f}" for kind in work]
    if len(words) > 1:
        what = f"{len(words)} post-hoc maps of an image"
        tell(
            Row(
                what,
                f"{times[0]} ms",
                f"one at a time, hooks: {times[1]} ms",
                seconds["published"] / seconds["ours"],
                ">= 4",
            )
        )
    return (
        *times,
        f"{seconds['published'] / seconds['ours']:.1f}x",
        *(f"{mib:.0f}" for mib in used),
        *("-" for _ in range(2 - len(used))),
        f"{difference:.1e}",
    )


def used_by(kind: str, work: Work, words: list[str]) -> float:
    """The peak of memory of one way, in MiB."""
    return memory(work) if device().type == "cuda" else memory_of_child(kind, words)


def timed(work: Work) -> float:
    """Seconds."""
    start = time.perf_counter()
    for maps in work().values():
        maps.cpu()
    return time.perf_counter() - start


def ways(cells: list[tuple[str, str]], options: argparse.Namespace) -> dict[str, Work]:
    """Both ways to make the maps of some extractors at some blocks, to be called again and again."""
    torch.manual_seed(0)
    backbone = {"name": options.backbone, "stride": options.stride, "weights": "none"}
    config = TrainConfig.model_validate(
        {"method": {"name": "cam"}, "backbone": backbone, "data": {"name": "synthetic"}}
    )
    method: Method = build.method(config, options.classes).to(device()).eval()
    images = torch.randn(options.images, 3, options.image_size, options.image_size, device=device())
    with torch.no_grad():
        labels = method.network(images).logits.argmax(1)  # a positive logit, whose log the published way can take
    several = [extractor(name, block) for name, block in cells]
    published = reference_extractors.prepare(copy.deepcopy(method))
    return {
        "ours": lambda: dict(
            zip(cells, (scores.maps for scores in extract_together(several, method, images, labels)), strict=True)
        ),
        "published": lambda: {cell: reference_extractors.maps(published, images, labels, *cell) for cell in cells},
    }


def extractor(name: str, block: str) -> BlockExtractor:
    """With its defaults."""
    plugin = plugins.load("extractor", name)
    built: BlockExtractor = plugin.build(plugin.Config(block=block))
    return built


def scaled(maps: Tensor) -> Tensor:
    """Every map to minimum 0 and maximum 1; a constant one to 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1.0)


def memory_of_child(kind: str, words: list[str]) -> float:
    """The peak of a fresh process with the same options."""
    command = [sys.executable, "-m", "benchmarks.extractors", *sys.argv[1:], "--only", *words, "--child", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
