"""The published networks as recorded: the names and shapes of their weights, and the procedural weights they were
recorded with."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from tests.support import vectors


def shapes(network: str) -> dict[str, list[int]]:
    """Name -> shape of every weight of a published network, such as `resnet50_cam_large_True`."""
    recorded = "brid" if "_drop_" in network else "base"
    names = json.loads(vectors.helper("backbones", f"state_dict_keys_{recorded}.json").read_text())[network]
    return dict(names)


def state(network: str, salt: str = "") -> dict[str, Tensor]:
    """The state dict of a published network under its published names."""
    return procedural({key: torch.empty(shape) for key, shape in shapes(network).items()}, salt)


def procedural(weights: Mapping[str, Tensor], salt: str) -> dict[str, Tensor]:
    """Weights drawn from the key's name, as the recording did."""
    return {
        key: drawn_weight(key, tuple(value.shape), salt).clone()
        for key, value in weights.items()
        if not key.endswith("num_batches_tracked")
    }


@functools.lru_cache(maxsize=400)  # those of the network before: most keys are the same in its next variant
def drawn_weight(key: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """The weight of a published name: noise of the name's own, in the size of what stands there."""
    noise = np.random.default_rng(zlib.crc32((salt + key).encode())).standard_normal(shape)
    if key.endswith("running_var"):
        noise = 1 + 0.1 * np.abs(noise)
    elif key.endswith("running_mean"):
        noise = 0.1 * noise
    elif key in ("cls_token", "pos_embed"):
        noise = 0.3 * noise
    elif len(shape) == 1:
        noise = 1 + 0.1 * noise if key.endswith("weight") else 0.05 * noise
    else:
        noise = noise * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(noise.astype(np.float32))
