"""Do the tests notice? Small plausible mistakes are put into copies of the code, one at a time.

python -m tests.mutants                     all of the table, within an hour on two cores
python -m tests.mutants --sample 40         some, drawn by --seed
python -m tests.mutants --only training     those whose file or mistake has the word
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.mutants.table import read_table
from tests.mutants.trying import copied, failing_without_mistake, import_what_tests_need, tried

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
    import_what_tests_need()
    noticed = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        folders = [copied(Path(place) / str(number)) for number in range(asked.jobs)]
        for row, outcome in tried(rows, folders):
            print(f"{outcome.word:8} {row.name}\n         {outcome.test}", flush=True)
            noticed += [outcome.test] * (outcome.word == "noticed")
        blind = failing_without_mistake(sorted({test for test in noticed if "::" in test}), folders[0])
    for test in sorted(blind):
        print(f"fails without a mistake too, and notices nothing: {test}")
    score = sum(test not in blind for test in noticed)
    print(f"{score} of {len(rows)} mistakes were noticed")
    return int(score < WANTED * len(rows))


if __name__ == "__main__":
    sys.exit(main())
