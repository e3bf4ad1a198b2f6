#!/usr/bin/env python3
"""The command line: `python launch.py --help`."""

import sys

OLDEST, FIRST_UNKNOWN = (3, 11), (3, 14)

if not OLDEST <= sys.version_info < FIRST_UNKNOWN:
    print(
        "error: Python {}.{} runs this, 3.11 to 3.13 are needed: `make demo` makes an environment, and".format(
            *sys.version_info
        ),
        "`source .venv/bin/activate` takes it; PYTHON=python3.12 make demo chooses another Python",
        file=sys.stderr,
    )
    sys.exit(2)

try:
    from orchestrator.cli import main
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] in ("orchestrator", "wsol"):
        raise
    print(
        f"error: the package {missing.name!r} is not installed for {sys.executable}:",
        "`source .venv/bin/activate` takes the environment that `make demo` makes",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    main()
