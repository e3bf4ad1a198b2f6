"""Normalizers by name, and what recordings and files hold of maps."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsol.contract.found import built
from wsol.normalizers.min_max import min_max

build = partial(built, "normalizer")


def quantised(score_map: np.ndarray) -> np.ndarray:
    levels: np.ndarray = (min_max(torch.from_numpy(score_map)[None]) * 255).int().numpy()
    return levels


def normalized(maps: Tensor, side: int) -> Tensor:
    """As the recording did: bilinear, then to minimum 0 and maximum 1; a constant map is zero."""
    maps = F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1.0)
