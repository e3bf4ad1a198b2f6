"""How much faster two workers train than one, each with one thread: the trainer under torchrun, on the same images and
the same global batch.

    python -m benchmarks.workers                                    an hour and more on two cores
    python -m benchmarks.workers --networks efficientnet_lite0:224 --batch-sizes 64 --steps 30

Printed is `train/images_per_second` of the last epoch, the fastest of the runs; the runs take turns. Gradients are
equal to those of one worker: the tests say so. Two separate trainings at once, their rates added, are what the machine
has to give: cores that share caches, memory or an arithmetic unit do not give twice as much.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks.row import Row, tell

LAUNCH = Path(__file__).resolve().parent.parent / "launch.py"


def main() -> None:
    """Print images per second with one worker, two workers, and two trainings, for each network and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks = ["efficientnet_lite0:128", "resnet50:112"]
    parser.add_argument("--networks", nargs="+", default=networks, metavar="BACKBONE:PIXELS")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[32, 64], help="images of a global batch")
    parser.add_argument("--steps", type=int, default=30, help="of an epoch; the first epoch is not counted")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    for network in options.networks:
        for batch_size in options.batch_sizes:
            compare(network, batch_size, options)


def compare(network: str, batch_size: int, options: argparse.Namespace) -> None:
    """Time the three, which take turns, and tell two rows."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    apart = []
    with TemporaryDirectory() as place:
        space = Path(place) / "space.yaml"
        space.write_text(yaml.safe_dump(experiment(network, batch_size, options.steps, place)))
        for run in range(options.runs):
            for workers, found in rates.items():
                found.append(rate(space, Path(place) / f"{workers}-{run}", workers))
            with ThreadPoolExecutor(2) as pool:
                apart.append(
                    sum(pool.map(lambda name: rate(space, Path(place) / name, 1), (f"left-{run}", f"right-{run}")))
                )
    one, two, most = max(rates[1]), max(rates[2]), max(apart)
    what = f"2 workers, one thread each, {network}, batches of {batch_size}"
    print(
        f"{what}: {two:.1f} images/s, {two / one:.2f} times the {one:.1f} of 1 worker; 2 trainings {most:.1f}",
        flush=True,
    )
    target = ">= 1.7" if network.startswith("efficientnet") else ">= 1.5"  # the more weights, the more is exchanged
    tell(Row(what, f"{two:.1f} images/s", f"1 worker: {one:.1f}", two / one, target))
    tell(Row(what, f"{two:.1f} images/s", f"2 trainings at once: {most:.1f}", two / most))


def experiment(network: str, batch_size: int, steps: int, root: str) -> dict[str, object]:
    """Two epochs of CAM on rendered images."""
    (name, _, pixels), classes = network.partition(":"), 4
    counts = {"train_images": steps * batch_size // classes, "fullsup_images": 1, "test_images": 1}
    sides = dict.fromkeys(("side", "image_size", "resize_size"), int(pixels))
    return {
        "trial": {
            "method": {"name": "cam"},
            "backbone": {"name": name, "weights": "none"},
            "data": {"name": "synthetic", "root": root, "classes": classes, **counts, **sides},
            "training": {"epochs": 2, "batch_size": batch_size},
        },
        "search": {},
        "study": {"trials": 1},
    }


def rate(space: Path, run: Path, workers: int) -> float:
    """Images per second of the last epoch."""
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={workers}",
        "--",
        str(LAUNCH),
        "train",
        str(space),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*words, "--run", str(run)], check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return float(next(csv.DictReader((run / "trials.csv").open()))["train/images_per_second"])


if __name__ == "__main__":
    main()
