"""How long box metrics take: this package against the published evaluator's loop, on the same score maps, in the same
run.

    python -m benchmarks.evaluation                      random maps of 7x7, 14x14 and 28x28 cells
    python -m benchmarks.evaluation --maps DIR           raw maps (h, w) from .npy files

The published loop thresholds the map 1000 times, follows all contours with OpenCV, takes their bounding boxes and,
again for every threshold, the row maxima of the whole matrix of overlaps (Choe et al., CVPR 2020; rebuilt here from the
description of the protocol). `tidied` is the same loop with these maxima taken once, the fastest that following
contours can be. All start at the normalised map on the 224x224 grid and end at the counts of every threshold, which
must be equal. Both loops have one thread.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.row import Row, tell
from wsol.evaluation import IMAGES_PER_TASK
from wsol.metric import Metric, Sample
from wsol.metrics import max_box_acc, max_box_acc_v2
from wsol.normalizers.min_max import min_max
from wsol.ops.boxes import iou
from wsol.ops.resize import resize_maps
from wsol.threads import map_ahead
from wsol.types import Annotation

SIDE = 224
STEP = 0.001
ROUNDS = 5
COPIES = 8
ROW = "{:<8} {:<15} {:>6} {:>10} {:>8} {:>9} {:>10} {:>13} {:>11} {:>8}  {}"


def main() -> None:
    """Print one row for each kind of map and each metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, help="folder of raw maps, .npy (h, w)")
    parser.add_argument("--images", type=int, default=10, help="images per row")
    parser.add_argument("--threads", type=int, default=2, help="threads of the last columns")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    kinds = (
        {"files": stored(options.maps, options.images)}
        if options.maps
        else {f"{n}x{n}": random_maps(n, options.images) for n in (7, 14, 28)}
    )
    print(f"milliseconds per image, fastest of {ROUNDS} rounds; peak memory before {peak_memory():.0f} MiB")
    head = (
        "maps",
        "metric",
        "images",
        "published",
        "tidied",
        "1 thread",
        f"{options.threads} threads",
        "to published",
        "to tidied",
        "threads",
        "counts",
    )
    print(ROW.format(*head))
    for kind, raw_maps in kinds.items():
        for name in ("max_box_acc_v2", "max_box_acc", "both"):
            print(
                ROW.format(kind, name, len(raw_maps), *compare(prepared(raw_maps), name, options.threads, kind)),
                flush=True,
            )
    print(f"peak memory after {peak_memory():.0f} MiB")


def peak_memory() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def random_maps(cells: int, images: int) -> list[np.ndarray]:
    """Raw maps (cells, cells) of normal noise."""
    return list(np.random.default_rng(cells).standard_normal((images, cells, cells), np.float32))


def stored(folder: Path, images: int) -> list[np.ndarray]:
    """The first raw maps of a folder."""
    paths = sorted(folder.rglob("*.npy"))[:images]
    if not paths:
        raise SystemExit(f"no .npy file in {folder}")
    return [np.load(path) for path in paths]


def prepared(raw_maps: Sequence[np.ndarray]) -> Callable[[], list[Sample]]:
    """Makes samples of which nothing is known yet: score maps on the grid, each with a random true box."""
    score_maps = [min_max(resize_maps(torch.from_numpy(raw)[None], (SIDE, SIDE)))[0].numpy() for raw in raw_maps]
    random = np.random.default_rng(0)
    boxes = [np.sort(random.integers(0, SIDE, (1, 2, 2)), axis=1).reshape(1, 4) for _ in score_maps]
    pairs = list(zip(score_maps, boxes, strict=True))
    return lambda: [Sample(score_map, Annotation((SIDE, SIDE), truth), 0, None, STEP) for score_map, truth in pairs]


def compare(fresh: Callable[[], list[Sample]], name: str, threads: int, kind: str) -> tuple[str, ...]:
    """Times and ratios of one row: all ways in turn, the fastest round of each; threads get more images, to have
    something to share."""
    images = len(fresh())
    ways: dict[str, Callable[[list[Sample]], np.ndarray]] = {
        "published": lambda samples: loop_counts(samples, name, published_maxima),
        "tidied": lambda samples: loop_counts(samples, name, tidied_maxima),
        "ours": lambda samples: counted(samples, name),
        "many": lambda samples: counted(samples, name),
        "threaded": lambda samples: counted_in_threads(samples, name, threads),
    }
    seconds, counts = dict.fromkeys(ways, float("inf")), {}
    for _ in range(ROUNDS):
        for way, work in ways.items():
            samples = [sample for _ in range(COPIES if way in ("many", "threaded") else 1) for sample in fresh()]
            start = time.perf_counter()
            counts[way] = work(samples) // (len(samples) // images)
            seconds[way] = min(seconds[way], (time.perf_counter() - start) / len(samples))
    alone, loop = (1000 * seconds[way] for way in ("ours", "published"))
    one, many = (1000 * seconds[way] for way in ("many", "threaded"))
    if name == "max_box_acc_v2":
        tell(
            Row(
                f"{name}, {kind} cells",
                f"{alone:.1f} ms a map",
                f"published loop: {loop:.0f} ms",
                loop / alone,
                ">= 20",
            )
        )
        tell(
            Row(
                f"{name}, {kind} cells, {threads} threads",
                f"{many:.2f} ms a map",
                f"1 thread: {one:.2f} ms",
                one / many,
                ">= 1.7",
            )
        )
    equal = all(np.array_equal(found, counts["published"]) for found in counts.values())
    times = (f"{1000 * seconds[way]:.2f}" for way in ("published", "tidied", "ours", "threaded"))
    ratios = (("published", "ours"), ("tidied", "ours"), ("many", "threaded"))
    return (*times, *(f"{seconds[a] / seconds[b]:.1f}x" for a, b in ratios), "equal" if equal else "DIFFERENT")


def metrics(name: str) -> list[Metric]:
    """Fresh metrics of one row."""
    both: dict[str, Metric] = {
        "max_box_acc_v2": max_box_acc_v2.build(max_box_acc_v2.Config(), STEP),
        "max_box_acc": max_box_acc.build(max_box_acc.Config(), STEP),
    }
    return list(both.values()) if name == "both" else [both[name]]


def counted(samples: Sequence[Sample], name: str) -> np.ndarray:
    """How many images are right, (metrics, 3, T), by this package."""
    counters = metrics(name)
    for sample in samples:
        for metric in counters:
            metric.update(sample)
    return np.stack([metric.state()["counts"].numpy() for metric in counters])


def counted_in_threads(samples: Sequence[Sample], name: str, threads: int) -> np.ndarray:
    """The same, in threads, which take a few maps at a time as in `evaluate`."""
    few = [samples[start : start + IMAGES_PER_TASK] for start in range(0, len(samples), IMAGES_PER_TASK)]
    parts = map_ahead(partial(counted, name=name), few, threads=threads, ahead=4 * threads)
    total: np.ndarray = np.stack(list(parts)).sum(0)
    return total


Maxima = Callable[[np.ndarray, np.ndarray], np.ndarray]


def loop_counts(samples: Sequence[Sample], name: str, maxima: Maxima) -> np.ndarray:
    """The same, by the loop over thresholds; it knows one metric at a time."""
    modes = {"max_box_acc_v2": [False], "max_box_acc": [True], "both": [False, True]}[name]
    deltas = np.array([30, 50, 70])[:, None] / 100
    right = [[loop_best_iou(sample, largest_only, maxima) >= deltas for sample in samples] for largest_only in modes]
    counts: np.ndarray = np.array(right).sum(1)
    return counts


def loop_best_iou(sample: Sample, largest_only: bool, maxima: Maxima) -> np.ndarray:
    """Best overlap at every threshold, (T,)."""
    pixels = (sample.score_map * 255).astype(np.uint8)
    found = [boxes_at(pixels, threshold, largest_only) for threshold in np.arange(0, 1, STEP)]
    return maxima(iou(np.concatenate(found), sample.grid_boxes), np.cumsum([0, *map(len, found)]))


def published_maxima(overlaps: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Best overlap of the boxes (rows) of every threshold, as published."""
    return np.array([max(overlaps.max(1)[start:end]) for start, end in itertools.pairwise(edges)])


def tidied_maxima(overlaps: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The same, at once."""
    best: np.ndarray = np.maximum.reduceat(overlaps.max(1), edges[:-1])
    return best


def boxes_at(pixels: np.ndarray, threshold: float, largest_only: bool) -> list[tuple[int, int, int, int]]:
    """Boxes of the contours at one threshold."""
    _, binary = cv2.threshold(pixels, int(threshold * pixels.max()), 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0, 0, 0, 0)]
    rectangles = [
        cv2.boundingRect(contour) for contour in ([max(contours, key=cv2.contourArea)] if largest_only else contours)
    ]
    return [(x, y, min(x + width, SIDE - 1), min(y + height, SIDE - 1)) for x, y, width, height in rectangles]


if __name__ == "__main__":
    main()
