"""Score maps on the evaluation grid."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def resize_maps(
    maps: Tensor, size: tuple[int, int], interpolation: Literal["bicubic", "bilinear"] = "bicubic"
) -> Tensor:
    """Resize as the field's protocol does it, bicubically (Choe et al., CVPR 2020), or bilinearly.

    Half-pixel centres, replicated edges, no antialiasing. Bicubic: kernel parameter -0.75; overshoot is kept. Always
    float64: in float32 an 8-bit pixel of the result can flip. Equal to OpenCV's cubic resize of float64 to 1e-14 where
    h / H and w / W are multiples of a power of two, which they are for every stride 8, 16, 32; elsewhere OpenCV rounds
    its kernel to float32 and is 1e-6 off.

    Args:
        maps: (B, h, w) of any float type and scale, on any device that has float64.
        size: (H, W) in pixels.
        interpolation: between the cells.

    Returns:
        (B, H, W) float64 on the same device; gradients flow back to `maps`.
    """
    return F.interpolate(maps[:, None].double(), size=size, mode=interpolation, align_corners=False)[:, 0]
