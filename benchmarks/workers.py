"""How much faster two workers train than one, each with one thread: the trainer under torchrun, on the same images and
the same global batch.

    python -m benchmarks.workers [--image-size 112] [--backbone resnet50]

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
    """Print images per second with one worker, two workers, and two trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--images", type=int, default=64, help="per epoch")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    apart = []
    with TemporaryDirectory() as place:
        space = Path(place) / "space.yaml"
        space.write_text(yaml.safe_dump(experiment(options, place)))
        for run in range(options.runs):
            for workers, found in rates.items():
                found.append(rate(space, Path(place) / f"{workers}-{run}", workers))
            with ThreadPoolExecutor(2) as pool:
                apart.append(
                    sum(pool.map(lambda name: rate(space, Path(place) / name, 1), (f"left-{run}", f"right-{run}")))
                )
    one, two, most = max(rates[1]), max(rates[2]), max(apart)
    print(
        f"{options.backbone}, {options.image_size} pixels: 1 worker {one:.1f} images/s, 2 workers {two:.1f} images/s:"
        f" {two / one:.2f} times"
    )
    print(
        f"two separate trainings at once {most:.1f} images/s: {most / one:.2f} times; 2 workers have {two / most:.0%}"
        " of that"
    )
    tell(Row("2 workers, one thread each", f"{two:.1f} images/s", f"1 worker: {one:.1f}", two / one, ">= 1.7"))
    tell(Row("2 workers, one thread each", f"{two:.1f} images/s", f"2 trainings at once: {most:.1f}", two / most))


def experiment(options: argparse.Namespace, root: str) -> dict[str, object]:
    """Two epochs of CAM on rendered images."""
    side, classes = options.image_size, 4
    counts = {"train_images": options.images // classes, "fullsup_images": 1, "test_images": 1}
    data = {
        "name": "synthetic",
        "root": root,
        "classes": classes,
        **counts,
        "side": side,
        "image_size": side,
        "resize_size": side,
    }
    backbone = {"name": options.backbone, "weights": "none"}
    training = {"epochs": 2, "batch_size": 16}
    return {
        "trial": {"method": {"name": "cam"}, "backbone": backbone, "data": data, "training": training},
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
