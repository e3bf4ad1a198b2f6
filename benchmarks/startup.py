"""How long the command line takes before it does anything: fresh processes, the fastest of several.

python -m benchmarks.startup [--runs 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

LAUNCH = Path(__file__).resolve().parent.parent / "launch.py"
COMMANDS = {
    "--help": ["--help"],
    "list methods": ["list", "methods"],
    "validate one file": ["validate", "search_spaces/cam_cub.yaml"],
    "validate all files": ["validate", *(str(path) for path in sorted(LAUNCH.parent.glob("search_spaces/*.yaml")))],
    "importing torch": [],
}


def main() -> None:
    """Print seconds for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for name, words in COMMANDS.items():
        command = [sys.executable, *([str(LAUNCH), *words] if words else ["-c", "import torch"])]
        print(f"{name:<20} {min(seconds(command) for _ in range(options.runs)):6.2f} s", flush=True)


def seconds(command: list[str]) -> float:
    """How long a process takes."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=LAUNCH.parent, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
