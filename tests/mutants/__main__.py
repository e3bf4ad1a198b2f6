"""Do the tests notice? Small plausible mistakes are put into copies of the code, one at a time.

python -m tests.mutants                     all of the table, about an hour on two cores
python -m tests.mutants --sample 12         some, drawn by --seed
python -m tests.mutants --only training     those whose file or mistake has the word
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.table import Mutant, read_table
from tests.support.paths import ROOT

COPIED = ("wsol", "orchestrator", "tests", "search_spaces", "clusters", "docs", "benchmarks")
SECONDS = 600.0
"""A mistake that makes the tests run for so long is noticed."""
WANTED = 0.95


def main() -> int:
    """Try the rows, print a line for each and the score; 1 where it is too low."""
    words = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    words.add_argument("--sample", type=int, help="try so many rows only")
    words.add_argument("--seed", type=int, default=0, help="draws the sample")
    words.add_argument("--only", default="", help="rows that have this word")
    words.add_argument("--jobs", type=int, default=2, help="rows at a time")
    asked = words.parse_args()
    rows = [row for row in read_table() if asked.only in row.name]
    if asked.sample is not None:
        rows = random.Random(asked.seed).sample(rows, min(asked.sample, len(rows)))
    copies = SimpleQueue[Path]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place, ThreadPoolExecutor(asked.jobs) as pool:
        for number in range(asked.jobs):
            copies.put(copied(Path(place) / str(number)))
        results = []
        for row, outcome in zip(rows, pool.map(lambda row: tried(row, copies), rows), strict=True):
            results.append(outcome)
            print(f"{outcome:8} {row.name}", flush=True)
    noticed = results.count("noticed")
    print(f"{noticed} of {len(results)} mistakes were noticed")
    return int(noticed < WANTED * len(results))


def copied(folder: Path) -> Path:
    """A copy of the code and its tests; the recorded vectors are only linked."""
    folder.mkdir()
    for path in [*(ROOT / name for name in COPIED), *ROOT.glob("*.*"), ROOT / "Makefile"]:
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__", "vectors"))
        elif path.is_file():
            shutil.copy(path, folder)
    (folder / "tests" / "vectors").symlink_to(ROOT / "tests" / "vectors")
    return folder


def tried(row: Mutant, copies: SimpleQueue[Path]) -> str:
    """`noticed`, `missed`, or `stale` where the code has changed since the row was written."""
    if row.problem():
        return "stale"
    folder = copies.get()
    try:
        with made(row, folder):
            return "missed" if passes(row, folder) else "noticed"
    finally:
        copies.put(folder)


@contextmanager
def made(row: Mutant, folder: Path) -> Iterator[None]:
    """Inside, the copy has the mistake."""
    path = folder / row.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(row.text, row.replacement), encoding="utf-8")
    changed = path.stat().st_mtime_ns + int(1e9)
    os.utime(path, ns=(changed, changed))  # bytecode of the same second and size would be taken for this file's
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(changed + int(1e9), changed + int(1e9)))


def passes(row: Mutant, folder: Path) -> bool:
    """Whether the row's tests pass in the copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "", *row.tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            return process.wait(SECONDS - (time.monotonic() - started)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            return False


if __name__ == "__main__":
    sys.exit(main())
