"""`python -m wsol.contract -k mine` is `python -m pytest --pyargs wsol.contract -k mine`, and says what is missing."""

from __future__ import annotations

import importlib.util
import sys


def main(words: list[str]) -> int:
    """Run the tests; returns the exit code of pytest, or 2 where that is not installed."""
    if importlib.util.find_spec("pytest") is None:
        print("error: the contract of plugins needs pytest: pip install 'wsol-search[contract]'", file=sys.stderr)
        return 2
    import pytest

    return int(pytest.main(["--pyargs", "wsol.contract", *words]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
