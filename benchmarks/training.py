"""How long one epoch of training takes: this package against the published step, on the same networks and images, in
the same run.

    python -m benchmarks.training                                              every published method on resnet50
    python -m benchmarks.training --methods has spg --backbones resnet50 vgg16 --classes 1000
    python -m benchmarks.training --methods ts_cam --backbones deit

Ours is the step of `wsol/training.py`: laid out in memory by `wsol/placement.py`, bf16 autocast on a GPU, a fused
optimizer, loss terms summed on the device and read once. The published one is `benchmarks/reference_step.py`: float32,
contiguous. What does not work on a backbone is left out. The two take turns and the fastest epoch of each counts; the
images are on the device from the start. Methods that the published code does not have are timed alone.

Memory is the peak of a first epoch beyond the network and the images: activations, gradients, momentum. On a GPU
torch's allocator counts it. On a CPU it is the growth of the resident memory of a fresh process (Linux only), which
includes what the libraries keep for themselves.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import reference_step
from benchmarks.row import Row, tell
from wsol import build, plugins
from wsol.config import OptimConfig, TrainConfig, misfit
from wsol.distributed import device
from wsol.method import Method
from wsol.optim import build_optimizer
from wsol.placement import place
from wsol.schema import BackboneConfig, PluginConfig
from wsol.training import autocast
from wsol.types import Batch, Progress

ROW = "{:<13} {:<19} {:>10} {:>10} {:>8} {:>10} {:>10}"
Epoch = Callable[[], object]


def main() -> None:
    """Print one row for each method and backbone."""
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.child:
        print(memory(epoch(options.child, options.methods[0], options.backbones[0], options)))
        return
    print(
        f"{device()}, {options.images} images of {options.image_size} pixels, batches of {options.batch_size},"
        f" {options.classes} classes"
    )
    print(ROW.format("method", "backbone", "images/s", "published", "ratio", "MiB", "published"))
    for backbone in options.backbones:
        for name in (name for name in options.methods if fits(name, backbone)):
            print(ROW.format(name, backbone, *compare(name, backbone, options)), flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=plugins.names("method"), default=list(reference_step.STEPS))
    parser.add_argument("--backbones", nargs="+", choices=plugins.names("backbone"), default=["resnet50"])
    parser.add_argument("--images", type=int, default=64, help="images per epoch")
    parser.add_argument("--image-size", type=int, default=112, help="side in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3, help="epochs of each, after one that is not counted")
    parser.add_argument("--threads", type=int, help="threads on a CPU")
    parser.add_argument("--compile", action="store_true", help="torch.compile our step")
    parser.add_argument("--child", choices=["ours", "published"], help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(name: str, backbone: str, options: argparse.Namespace) -> tuple[str, ...]:
    """Images per second, their ratio, and memory."""
    kinds = ["ours", "published"] if name in reference_step.STEPS else ["ours"]
    epochs = {kind: epoch(kind, name, backbone, options) for kind in kinds}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for work in epochs.values():
        work()
    for _ in range(options.runs):
        for kind, work in epochs.items():
            seconds[kind].append(timed(work))
    speed = {kind: options.images / min(times) for kind, times in seconds.items()}
    on_gpu = device().type == "cuda"
    used = {
        kind: memory(epoch(kind, name, backbone, options)) if on_gpu else memory_of_child(kind, name, backbone)
        for kind in kinds
    }
    if len(kinds) == 1:
        return f"{speed['ours']:.1f}", "-", "-", f"{used['ours']:.0f}", "-"
    ratio = speed["ours"] / speed["published"]
    tell(
        Row(
            f"step of {name}, {backbone}",
            f"{speed['ours']:.1f} images/s",
            f"published: {speed['published']:.1f}",
            ratio,
            ">= 1",
        )
    )
    return (
        f"{speed['ours']:.1f}",
        f"{speed['published']:.1f}",
        f"{ratio:.2f}x",
        f"{used['ours']:.0f}",
        f"{used['published']:.0f}",
    )


def fits(name: str, backbone: str) -> bool:
    """Whether a method works on a backbone."""
    method: PluginConfig = plugins.load("method", name).Config()
    network: BackboneConfig = plugins.load("backbone", backbone).Config(weights="none")
    return not misfit(method, network)


def timed(work: Epoch) -> float:
    """Seconds until the device is done: the published step does not wait for its last backward pass."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Wait for all that the device was given."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def epoch(kind: str, name: str, backbone: str, options: argparse.Namespace) -> Epoch:
    """One epoch of training, to be called again and again; it ends when its loss has been read."""
    torch.manual_seed(0)
    random.seed(0)
    method = untrained(name, backbone, options.classes).to(device()).train()
    count, size = options.images, options.image_size
    images, labels = (
        torch.randn(count, 3, size, size, device=device()),
        torch.randint(options.classes, (count,), device=device()),
    )
    batches = list(zip(torch.split(images, options.batch_size), torch.split(labels, options.batch_size), strict=True))
    if kind == "ours":
        return our_epoch(place(method), batches, options.compile)
    reference_step.prepare(method, name)
    optimizer = reference_step.plain_optimizer(method)
    return lambda: reference_step.epoch(method, name, optimizer, batches)


def untrained(name: str, backbone: str, classes: int) -> Method:
    """A method with random weights, on the CPU."""
    fields = {"name": backbone, "weights": "none"}
    plain = {"method": {"name": name}, "backbone": fields, "data": {"name": "synthetic"}, "initial_run": "not read"}
    return build.bare_method(TrainConfig.model_validate(plain), classes)


def our_epoch(method: Method, batches: list[tuple[Tensor, Tensor]], compiled: bool) -> Epoch:
    """The loop of `wsol/training.py` without its reading of images and its reports."""
    optimizer = build_optimizer(method, OptimConfig(lr=1e-5))
    layout = method.network.backbone.memory_format
    ready = [Batch(images.contiguous(memory_format=layout), labels) for images, labels in batches]
    step = torch.compile(method) if compiled else method

    def run() -> float:
        losses = torch.zeros((), device=device())
        for index, batch in enumerate(ready):
            with autocast("auto", device()):
                terms = step(batch, Progress(1, 1, index, len(ready)))
            optimizer.zero_grad(set_to_none=True)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses += loss.detach()
        return losses.item()

    return run


def memory(work: Epoch) -> float:
    """Peak of one epoch beyond what is held before it, in MiB."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held
    before_mib = peak_resident()
    work()
    return peak_resident() - before_mib


def peak_resident() -> float:
    """The largest resident memory of this process so far, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def memory_of_child(kind: str, name: str, backbone: str) -> float:
    """The same, in a fresh process with the same options."""
    rest = [*sys.argv[1:], "--methods", name, "--backbones", backbone, "--child", kind]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", *rest], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
