"""F-CAM on small networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def assert_close(found: Tensor, recorded: np.ndarray, tolerance: float) -> None:
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=tolerance * expected.abs().max().item())
