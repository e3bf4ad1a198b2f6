"""Values that are computed only once for a batch, however often they are used; see `Backbone.shared_pass`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(slots=True)
class SharedPass:
    """Features and taps of one batch, after they were first used; a pass with more taps replaces one with fewer."""

    images: Tensor
    watched: frozenset[str]
    taps: frozenset[str]
    memory: dict[Hashable, Any] = field(default_factory=dict)
    outputs: tuple[Tensor, dict[str, Tensor]] | None = None
