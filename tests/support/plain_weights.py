"""A state dict of two weights."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

PLAIN = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


class Malicious:
    """Makes a folder where a file with it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("code-of-the-file-ran",)
