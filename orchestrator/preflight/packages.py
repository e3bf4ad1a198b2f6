"""Checks for the optional packages that a study needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from wsol.errors import InputError


def require_logger_packages(loggers: Sequence[str]) -> None:
    """Raise InputError if the package of a logger is not installed."""
    missing = [name for name in loggers if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"study.loggers: {' and '.join(missing)} cannot be imported; install with: pip install {' '.join(missing)}"
        )
