"""How long the command line takes before it does anything: fresh processes, the fastest of several.

python -m benchmarks.startup [--runs 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.row import Row, tell

LAUNCH = Path(__file__).resolve().parent.parent / "launch.py"
COMMANDS = {
    "--help": ["--help"],
    "list methods": ["list", "methods"],
    "validate one file": ["validate", "search_spaces/cam_cub.yaml"],
    "validate all files": ["validate", *(str(path) for path in sorted(LAUNCH.parent.glob("search_spaces/*.yaml")))],
    "importing torch": [],
}
TARGETS = {"--help": 0.5, "validate all files": 5}
"""Seconds."""


def main() -> None:
    """Print seconds for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    found = {}
    for name, words in COMMANDS.items():
        command = [sys.executable, *([str(LAUNCH), *words] if words else ["-c", "import torch"])]
        found[name] = min(seconds(command) for _ in range(options.runs))
        print(f"{name:<20} {found[name]:6.2f} s", flush=True)
    for name, limit in TARGETS.items():
        tell(
            Row(
                name,
                f"{found[name]:.2f} s",
                f"import torch: {found['importing torch']:.2f} s",
                found[name],
                f"<= {limit}",
                "s",
            )
        )


def seconds(command: list[str]) -> float:
    """How long a process takes."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=LAUNCH.parent, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
