"""What evaluation costs beside the network: a whole evaluation against the forward passes alone, on the same images, in
the same run.

    python -m benchmarks.evaluation_cost [--backbone resnet50] [--images 64] [--image-size 224]

The evaluation resizes, normalises, finds all boxes and counts every box metric; `with intervals` counts 1000 bootstrap
replicates too, as after training. The two are timed in turn, three times; the fastest of each counts. Peak memory is
that of the process so far.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable

import torch

from benchmarks.row import Row, tell
from wsol import build
from wsol.config import EvaluationConfig, TrainConfig
from wsol.distributed import device
from wsol.evaluation import evaluate, forward
from wsol.scoring import score

METRICS = ("max_box_acc_v2", "max_box_acc", "top1", "max_box_acc_by_size")


def main() -> None:
    """Print the times per image and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        data = {
            "name": "synthetic",
            "root": root,
            "classes": 4,
            "fullsup_images": options.images // 4,
            "train_images": 1,
            "test_images": 1,
        }
        config = TrainConfig.model_validate(
            {
                "method": {"name": "cam"},
                "backbone": {"name": options.backbone, "weights": "none"},
                "data": {**data, "image_size": options.image_size, "resize_size": options.image_size},
            }
        )
        compare(
            config, EvaluationConfig.model_validate({"metrics": [{"name": name} for name in METRICS], "batch_size": 16})
        )


def compare(config: TrainConfig, evaluation: EvaluationConfig) -> None:
    """Time the three."""
    dataset = build.dataset(config.data)
    images = build.images(dataset, "train_fullsup", config.data)
    torch.manual_seed(0)
    method = build.method(config, dataset.num_classes).to(device())
    work: dict[str, Callable[[], object]] = {
        "forward passes": lambda: deque(forward(method, images, [evaluation], evaluation.batch_size), maxlen=0),
        "evaluation": lambda: evaluate(method, images, evaluation),
        "with intervals": lambda: score(method, images, evaluation),
    }
    seconds = {name: float("inf") for name in work}
    for _ in range(3):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    print(f"{config.backbone.name}, {len(images)} images of {images.size} px, {torch.get_num_threads()} threads")
    for name, value in seconds.items():
        print(f"{name:<16} {1000 * value / len(images):8.2f} ms an image   {value / seconds['forward passes']:.3f} x")
    own, network = (1000 * seconds[name] / len(images) for name in ("evaluation", "forward passes"))
    tell(
        Row("a whole evaluation", f"{own:.1f} ms an image", f"forward passes: {network:.1f}", own / network, "<= 1.15")
    )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
