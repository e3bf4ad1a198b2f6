"""The same draws whenever and after whatever a test runs."""

from __future__ import annotations

import random
import sys


def begin_draws_anew() -> None:
    """Seed the generators of Python and, where it was imported, of torch."""
    random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
