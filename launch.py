#!/usr/bin/env python3
"""The command line: `python launch.py --help`."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
