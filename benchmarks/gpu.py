"""What only a GPU can answer, in one table: steps, compiled steps, loader, evaluation, assigner, extractors, CRF, maps,
two trials on one card.

    python -m benchmarks.gpu                        at most 8 minutes
    python -m benchmarks.gpu --rows step loader     some of the groups
    python -m benchmarks.gpu --write gpu.md         the table into a file as well

Every group is a benchmark in a process of its own and has a limit in seconds; what a group has told when it is stopped
stands in the table, and so does the reason where something failed. Compiled steps come last and get the time that is
left. The exit code is 0 unless nothing could be measured. Ray and Optuna are not needed. Without a GPU, the groups that
a CPU can do run in a small form, which proves only that they run.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.__main__ import table
from benchmarks.row import ROWS, Row, read_rows


@dataclass(frozen=True, slots=True)
class Group:
    """A benchmark and its arguments.

    Attributes:
        seconds: its limit on a GPU; a CPU takes its time.
        words: the module of `benchmarks` and its arguments on a GPU.
        small: further arguments for a CPU, which replace earlier ones of the same name; None: a GPU is needed.
    """

    seconds: float
    words: tuple[str, ...]
    small: tuple[str, ...] | None


FEW = ("--image-size", "32", "--batch-size", "2", "--batches", "1", "--runs", "1", "--classes", "4")
TINY = ("--backbone", "tiny")
GROUPS = {
    "step": Group(130, ("gpu_rows", "step"), (*FEW, "--methods", "has", "--backbones", "tiny")),
    "loader": Group(40, ("gpu_rows", "loader"), (*FEW, "--backbones", "tiny")),
    "evaluation": Group(40, ("evaluation_cost", "--images", "256"), (*FEW[:2], "--images", "4", *TINY)),
    "assigner": Group(50, ("assigner",), ("--images", "1")),
    "extractors": Group(
        40,
        ("extractors", "--images", "16", "--image-size", "224"),
        (*FEW[:2], *TINY, "--blocks", "conv2", "conv3", "--images", "1", "--without-memory"),
    ),
    "crf": Group(30, ("crf", "--images", "8", "--largest-exact", "224"), ("--images", "1", "--largest-exact", "56")),
    "maps": Group(30, ("gpu_rows", "maps"), (*FEW, "--backbones", "tiny")),
    "trials": Group(60, ("gpu_rows", "trials"), (*FEW, "--backbones", "tiny")),
    "compile": Group(3600, ("gpu_rows", "compile"), None),
}


def main() -> None:
    """Run the groups and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--minutes", type=float, default=8, help="for all groups together")
    parser.add_argument("--write", type=Path, metavar="FILE", help="where the table is written as well")
    options = parser.parse_args()
    rows, end = list[Row](), time.monotonic() + 60 * options.minutes
    for name in options.rows:
        own = GROUPS[name].seconds if torch.cuda.is_available() else math.inf
        rows += run(name, min(own, end - time.monotonic()))
    text = f"{table(rows)}\n\n{machine()}\n"
    print(f"\n{text}", flush=True)
    if options.write:
        options.write.write_text(text)
    if all(row.found is None for row in rows):
        sys.exit("nothing could be measured; the table says why")


def run(name: str, limit: float) -> list[Row]:
    """The rows of a group, and one more that says why it ended early, if it did."""
    group, on_gpu = GROUPS[name], torch.cuda.is_available()
    if not on_gpu and group.small is None:
        return [Row(name, "needs a GPU", "", None)]
    if limit <= 0:
        return [Row(name, "not begun: the time is over", "", None)]
    words = ["-m", f"benchmarks.{group.words[0]}", *group.words[1:], *(() if on_gpu else group.small or ())]
    print(f"\n$ python {' '.join(words)}", flush=True)
    with TemporaryDirectory() as folder:
        reason = why_it_failed(words, Path(folder), limit)
        rows = read_rows(Path(folder) / "rows")
    return [*rows, Row(f"{name}: the rest", reason, "", None)] if reason else rows


def why_it_failed(words: list[str], folder: Path, limit: float) -> str:
    """Run Python with words, whose rows are collected in a folder. Nothing if it ends well, else why not."""
    errors, environment = folder / "errors", {**os.environ, ROWS: str(folder / "rows")}
    with errors.open("w") as file:
        process = subprocess.Popen([sys.executable, *words], env=environment, stderr=file, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started
                process.wait()
    lines = errors.read_text().strip().splitlines() or [f"exit code {code}"]
    return f"failed: {in_a_cell(lines[-1])}" if code else ""


def in_a_cell(text: str) -> str:
    """The first line of a text, short and without what would end a cell of a Markdown table."""
    return next(iter(text.strip().splitlines()), "").replace("|", "/")[:120]


def machine() -> str:
    """Where, when and with what."""
    card = "no GPU: the small form, whose figures mean nothing"
    if torch.cuda.is_available():
        card = f"{torch.cuda.get_device_name()}, {torch.cuda.mem_get_info()[1] / 2**30:.0f} GiB"
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return (
        f"{when}; {card}; {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, torch"
        f" {torch.__version__}, CUDA {torch.version.cuda}"
    )


if __name__ == "__main__":
    main()
