"""All ratios in one table: each benchmark in a process of its own, one after the other, with settings of minutes on two
CPU cores.

    python -m benchmarks                        all of them
    python -m benchmarks loader startup         some of them
    python -m benchmarks --write RESULTS.md     the table into a file as well

What the benchmarks print themselves goes by while they run. Every row compares two things that were measured in one
run, side by side; machines that do other work at the same time give other seconds, and often other ratios.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.row import ROWS, Row, read_rows

SETTINGS = {
    "startup": [],
    "metadata": [],
    "loader": [],
    "evaluation": [],
    "evaluation_cost": ["--images", "32"],
    "prediction": [],
    "training": ["--methods", "cam", "has", "spg", "--image-size", "64", "--images", "32", "--batch-size", "16"],
    "extractors": ["--images", "2"],
    "assigner": ["--images", "4"],
    "crf": [],
    "workers": ["--networks", "efficientnet_lite0:128", "--batch-sizes", "32", "--steps", "8", "--runs", "1"],
    "orchestration": ["--trials", "8", "--epochs", "30"],
    "faults": ["launcher", "--concurrent", "1", "--kills", "5"],
    "report": [],
    "search_efficiency": ["--seeds", "10"],
}
PACKAGES = ("torch", "ray", "optuna", "numpy", "numba", "opencv-python-headless")
SIGNS = {None: "", True: "yes", False: "**no**"}


def main() -> None:
    """Run the benchmarks and print the table; exit code 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SETTINGS, []], metavar="NAME", help=", ".join(SETTINGS))
    parser.add_argument("--write", type=Path, metavar="FILE", help="where the table is written as well")
    options = parser.parse_args()
    rows, failed = list[Row](), list[str]()
    for name in options.names or SETTINGS:
        found, code = run(name)
        rows += found
        failed += [f"{name} ended with {code}"] if code else []
    text = f"{table(rows)}\n\n{machine()}\n"
    print(f"\n{text}", flush=True)
    if options.write:
        options.write.write_text(text)
    sys.exit("\n".join(failed) or 0)


def run(name: str) -> tuple[list[Row], int]:
    """The rows of one benchmark, and its exit code."""
    words = [sys.executable, "-m", f"benchmarks.{name}", *SETTINGS[name]]
    print(f"\n$ python {' '.join(words[1:])}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path, begun = Path(folder) / "rows", time.perf_counter()
        code = subprocess.run(words, env={**os.environ, ROWS: str(path)}, check=False).returncode
        print(f"({time.perf_counter() - begun:.0f} s)", flush=True)
        return read_rows(path), code


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [("what", "ours", "beside", "found", "target", "met"), ("---", "---:", "---:", "---:", "---:", "---")]
    lines += [
        (
            row.what,
            row.ours,
            row.beside,
            "" if row.found is None else f"{row.found:.3g} {row.unit}".replace(" x", "x"),
            row.target,
            SIGNS[row.is_met],
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "| " + " | ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def machine() -> str:
    """Where, when and with what."""
    import torch

    processor = next(
        (line.partition(":")[2].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return (
        f"{when}; {len(os.sched_getaffinity(0))} cores of {processor}, {gpu}; Python {platform.python_version()},"
        f" {versions}"
    )


def lines_of(path: str) -> list[str]:
    """Lines of a file that not every system has."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    main()
