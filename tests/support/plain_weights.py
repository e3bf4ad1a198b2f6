"""A state dict of two weights."""

from __future__ import annotations

import torch

PLAIN = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}
