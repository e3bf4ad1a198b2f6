"""What reading the metadata of a large training split costs a process: columns at once against row by row.

    python -m benchmarks.metadata [--images 1281167]

Ids, labels and sizes have the form and number of ImageNet's. Both ways read the same files, each in a fresh process:
`row by row` is the strict reader alone, which otherwise gets only files with something unusual. Seconds are of the
processor, memory is the peak beyond what the process held before (Linux only).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.row import Row, tell
from benchmarks.training import peak_resident
from wsol.data import columns, metadata
from wsol.data.metadata import Metadata

CLASSES = 1000
WAYS = ("columns", "row by row")


def main() -> None:
    """Print seconds and memory of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(*cost(options.folder, options.way))
        return
    with TemporaryDirectory() as folder:
        metadata.write(Path(folder), like_imagenet(options.images))
        (seconds, mib), (strict_seconds, strict_mib) = (cost_of_child(folder, way) for way in WAYS)
    what = f"metadata of {options.images} images"
    for row in (
        Row(f"{what}, CPU", f"{seconds:.2f} s", f"row by row: {strict_seconds:.1f} s", seconds, "<= 2", "s"),
        Row(f"{what}, memory", f"{mib:.0f} MiB", f"row by row: {strict_mib:.0f} MiB", mib, "<= 200", "MiB"),
    ):
        print(f"{row.what}: {row.ours}, {row.beside}")
        tell(row)


def like_imagenet(images: int) -> Metadata:
    """Labels and sizes of a training split."""
    labels = np.arange(images) * CLASSES // images
    ids = tuple(f"train/n{label:08d}/n{label:08d}_{place}.JPEG" for place, label in enumerate(labels.tolist()))
    sizes = np.random.default_rng(0).integers(100, 1000, (images, 2))
    return Metadata(Path(), ids, labels, sizes, None, None)


def cost(folder: Path, way: str) -> tuple[float, float]:
    """Seconds of the processor, and MiB."""
    if way == "row by row":
        columns.image_ids = lambda path: None
        columns.numbers = lambda path, ids, columns, allowed: None
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held
    held, begun = peak_resident(), time.process_time()
    metadata.read(folder, annotated=False, num_classes=CLASSES)
    return time.process_time() - begun, peak_resident() - held


def cost_of_child(folder: str, way: str) -> list[float]:
    """The same, in a fresh process."""
    words = [sys.executable, "-m", "benchmarks.metadata", "--folder", folder, "--way", way]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()[-2:]]


if __name__ == "__main__":
    main()
