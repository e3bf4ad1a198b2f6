"""Images that are as full of detail as photographs, to be stored, decoded and drawn."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 256


def photo(rng: np.random.Generator) -> np.ndarray:
    """(256, 256, 3) uint8 with detail at every scale, half as much amplitude at twice the frequency."""
    layers = [
        cv2.resize(rng.normal(0, 256 / side, (side, side, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for side in (4, 8, 16, 32, 64, 128)
    ]
    return np.asarray(np.clip(128 + 2 * sum(layers), 0, 255)).astype(np.uint8)
