"""The groups of `python -m benchmarks.gpu` that no other benchmark measures.

    python -m benchmarks.gpu_rows step          our step (bf16, channels-last) against the published one (float32)
    python -m benchmarks.gpu_rows compile       the same after torch.compile
    python -m benchmarks.gpu_rows loader        images per second of the loader against those of a step
    python -m benchmarks.gpu_rows maps          maps on the device against those on the host, both in float32
    python -m benchmarks.gpu_rows trials        two trainings at once on one device against one after the other

Steps are those of `benchmarks/training.py`. A row that fails says why, and the next one is tried.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.multiprocessing

from benchmarks import reference_step
from benchmarks.extractors import scaled
from benchmarks.gpu import in_a_cell
from benchmarks.loader import make_split
from benchmarks.row import Row, tell
from benchmarks.training import Epoch, epoch, fits, memory, synchronize, timed, untrained
from wsol.config import TrainConfig
from wsol.data.images import ImageStore
from wsol.data.loading import TrainLoader, to_batch
from wsol.distributed import device
from wsol.schema import DatasetConfig
from wsol.training import train

BACKBONES = ("resnet50", "vgg16", "inception_v3")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Tell the rows of one group."""
    options = arguments()
    groups: dict[str, Callable[[argparse.Namespace], None]] = {
        "step": steps,
        "compile": steps,
        "loader": lambda options: attempt("the loader beside the step of cam", partial(loader_row, options)),
        "maps": same_maps,
        "trials": lambda options: attempt("two trials at once on one device", partial(trials_row, options)),
    }
    groups[options.group](options)


def arguments() -> argparse.Namespace:
    """The command line; `epoch` of `benchmarks.training` reads most of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=["step", "compile", "loader", "maps", "trials"])
    parser.add_argument("--methods", nargs="+", choices=list(reference_step.STEPS), default=list(reference_step.STEPS))
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--image-size", type=int, default=224, help="side in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=4, help="of an epoch")
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3, help="epochs of each, after one that is not counted")
    options = parser.parse_args()
    options.images, options.compile = options.batches * options.batch_size, options.group == "compile"
    return options


def attempt(what: str, measure: Callable[[], Row]) -> None:
    """Tell the row that was measured, or why it could not be."""
    try:
        row = measure()
    except Exception as error:
        row = Row(what, f"failed: {type(error).__name__}: {in_a_cell(str(error))}", "", None)
    if device().type == "cuda":
        torch.cuda.empty_cache()
    print(f"{row.what}: {row.ours}; {row.beside}", flush=True)
    tell(row)


def steps(options: argparse.Namespace) -> None:
    """A row for each backbone and method."""
    for backbone in options.backbones:
        for name in filter(lambda name: fits(name, backbone), options.methods):
            kind = "compiled step" if options.compile else "step"
            attempt(f"{kind} of {name}, {backbone}", partial(step_row, name, backbone, options))


def step_row(name: str, backbone: str, options: argparse.Namespace) -> Row:
    """Our step against the published one: images per second, and the peak of memory on a GPU."""
    torch.compiler.reset()  # counts and compiled code of the row before
    epochs = {kind: epoch(kind, name, backbone, options) for kind in ("ours", "published")}
    rates = {kind: options.images / seconds for kind, seconds in fastest(epochs, options.runs).items()}
    told = {kind: f"{rate:.0f} images/s{peak(epochs[kind])}" for kind, rate in rates.items()}
    what, target = f"step of {name}, {backbone}", ">= 2.5"
    if options.compile:
        what, target = f"compiled {what}", ">= 3"
        told["ours"] += f", {sum(torch._dynamo.utils.counters['graph_break'].values())} graph breaks"
    return Row(what, told["ours"], f"published: {told['published']}", rates["ours"] / rates["published"], target)


def fastest(work: dict[str, Epoch], runs: int) -> dict[str, float]:
    """Seconds of each, which take turns, after one run that is not counted."""
    for run in work.values():
        timed(run)
    rounds = [{kind: timed(run) for kind, run in work.items()} for _ in range(runs)]
    return {kind: min(seconds[kind] for seconds in rounds) for kind in work}


def peak(work: Epoch) -> str:
    """Memory beyond the images and the network with its gradients and momentum, in words."""
    return f", {memory(work):.0f} MiB" if device().type == "cuda" else ""


def loader_row(options: argparse.Namespace) -> Row:
    """Images per second that the loader brings to the device, against those that a step of CAM takes."""
    backbone, images = options.backbones[0], 16 * options.batch_size
    eaten = options.images / fastest({"ours": epoch("ours", "cam", backbone, options)}, options.runs)["ours"]
    with TemporaryDirectory() as place:
        side = options.image_size * 8 // 7
        split, data = make_split(Path(place), images), {"name": "photos", "root": place, "workers": 1, "cache": "on"}
        settings = DatasetConfig.model_validate({**data, "resize_size": side, "image_size": options.image_size})
        loader = TrainLoader(
            split,
            ImageStore(split, side, settings),
            batch_size=options.batch_size,
            image_size=options.image_size,
            resize_size=side,
            seed=0,
            rank=0,
            world=1,
        )
        brought = images / fastest({"loader": lambda: bring_all(loader)}, options.runs)["loader"]
    return Row(
        f"the loader beside the step of cam, {backbone}",
        f"{brought:.0f} images/s",
        f"step: {eaten:.0f}",
        brought / eaten,
        ">= 2",
    )


def bring_all(loader: TrainLoader) -> None:
    """Bring an epoch to the device."""
    for raw in loader.epoch(1):
        to_batch(raw, device(), MEAN, STD)


def same_maps(options: argparse.Namespace) -> None:
    """A row for each backbone."""
    for backbone in options.backbones:
        attempt(f"maps of cam, {backbone}", partial(maps_row, backbone, options))


def maps_row(backbone: str, options: argparse.Namespace) -> Row:
    """The largest difference between maps on the device and on the host, each scaled to [0, 1]; convolutions of NVIDIA
    GPUs round to 10 bits, as is torch's default."""
    method = untrained("cam", backbone, options.classes).eval()
    images, labels = torch.randn(2, 3, options.image_size, options.image_size), torch.arange(2)
    with torch.no_grad():
        host = method.score_maps(images, labels).maps
        found = method.to(device()).score_maps(images.to(device()), labels.to(device())).maps
    difference = float((scaled(host) - scaled(found.cpu())).abs().max())
    return Row(f"maps of cam, {backbone}", str(device()), "on the host", difference, "<= 0.02", "apart")


def trials_row(options: argparse.Namespace) -> Row:
    """Two trainings at once, with their evaluations and checkpoints, against the same one after the other."""
    with TemporaryDirectory() as place:
        alone = max(seconds_of_trials(1, Path(place) / "alone", options))
        together = max(seconds_of_trials(2, Path(place) / "together", options))
    what = f"two trials at once on one device, cam, {options.backbones[0]}"
    return Row(what, f"{together:.1f} s", f"one after the other: {2 * alone:.1f} s", 2 * alone / together, ">= 1.3")


def seconds_of_trials(count: int, root: Path, options: argparse.Namespace) -> list[float]:
    """Seconds of each of some trainings that begin at the same time, each in a process of its own."""
    root.mkdir()
    ready = torch.multiprocessing.get_context("spawn").Barrier(count)
    torch.multiprocessing.spawn(trial, (ready, root, options), nprocs=count)  # type: ignore[attr-defined, no-untyped-call]
    return [json.loads((root / f"{number}.json").read_text()) for number in range(count)]


def trial(number: int, ready: torch.multiprocessing.Barrier, root: Path, options: argparse.Namespace) -> None:  # type: ignore[name-defined]
    """Train twice; the first time, with one epoch, is not counted: images are drawn and kernels chosen."""
    for epochs in (1, 2):
        config = trial_config(root / f"images-{number}", epochs, options)
        if epochs == 2:
            ready.wait()
        begun = time.perf_counter()
        train(config, root / f"{number}-{epochs}", "train_fullsup/max_box_acc_v2")
        synchronize()
    (root / f"{number}.json").write_text(json.dumps(time.perf_counter() - begun))


def trial_config(root: Path, epochs: int, options: argparse.Namespace) -> TrainConfig:
    """CAM on rendered images, as many steps as twelve epochs of the other rows, a sixth as many scored."""
    classes, side = 4, options.image_size
    data = {"name": "synthetic", "root": str(root), "classes": classes, "side": side, "image_size": side}
    counts = {
        "train_images": 3 * options.images // classes,
        "fullsup_images": -(-options.images // 8),
        "test_images": 1,
    }
    return TrainConfig.model_validate(
        {
            "method": {"name": "cam"},
            "backbone": {"name": options.backbones[0], "weights": "none"},
            "data": {**data, **counts, "resize_size": side},
            "training": {"epochs": epochs, "batch_size": options.batch_size},
        }
    )


if __name__ == "__main__":
    main()
